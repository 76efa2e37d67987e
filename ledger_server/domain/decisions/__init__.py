"""Owns the decisions: pure functions from (working set, command, now) to the facts that follow."""
