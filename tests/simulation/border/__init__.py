"""Simulate the whole border: processes, clocks and pauses here, a provider and its webhooks there."""
