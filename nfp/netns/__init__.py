"""Links, network namespaces, and sockets inside them."""
