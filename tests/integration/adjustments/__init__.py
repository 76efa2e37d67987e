"""Own the way of adjustments, from the RPC to the disk."""
