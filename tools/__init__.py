"""Own the development tools that the Makefile runs."""
