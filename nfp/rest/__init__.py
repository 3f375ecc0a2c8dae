"""HTTP over UNIX sockets, TCP and TLS, as agent, drivers and operator share it."""
