"""The configurator's modules: devices and their monitors, and one module per service type."""
