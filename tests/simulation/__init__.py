"""Own the comparison of the server with an independent model of it."""
