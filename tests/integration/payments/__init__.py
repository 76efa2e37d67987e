"""Own payments from the RPC to the disk."""
