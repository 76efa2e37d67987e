"""Owns what decisions are made of: commands, facts, and the working set that facts change."""
