"""Owns what the engine does for runs, findings, settlements and provider events."""
