"""Owns callers' reads: as of now, at an instant, or as a live tail."""
