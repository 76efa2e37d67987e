"""Owns the engine's part in runs, findings, settlements and provider events."""
