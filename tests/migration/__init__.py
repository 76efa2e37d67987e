"""Own the schema's ways up and down and what it refuses."""
