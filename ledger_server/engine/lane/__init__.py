"""Owns the lane of a tenant: queue, batch, load, decide, commit, answer."""
