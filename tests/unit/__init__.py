"""Own the tables of the pure rules."""
