"""Own the tables of what providers take and of how they are configured."""
