"""Owns the parts of a decision: commands, facts, and the working set that facts change."""
