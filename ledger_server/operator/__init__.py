"""Owns the operator's commands: a client of a running server, like any other."""
