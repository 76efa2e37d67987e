"""Own the rules of the Python client that need no server."""
