"""Own the proof that every client does what docs/clients.md says, against one server."""
