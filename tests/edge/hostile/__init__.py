"""Own the attack on the edge: requests that follow from a seed, and what must not come of them."""
