"""Own the tables of the rules of findings."""
