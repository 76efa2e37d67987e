"""Who calls and what they may do, without a server."""
