"""Owns the command line `defter`: its verbs, and those that need no server."""
