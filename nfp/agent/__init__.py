"""The Configurator Agent on the network node: RPC in, REST over a UNIX socket out."""
