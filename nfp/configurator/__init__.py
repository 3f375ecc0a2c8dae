"""The Network Service Configurator: REST in, vendor drivers out."""
