"""Own the rules of adjustments."""
