"""Owns how callers read: now, at an instant, as a live tail."""
