"""Own the lane: batch, load, decide, flush, answer."""
