"""The Configurator Proxy in the router namespace: bytes from a UNIX socket to TCP."""
