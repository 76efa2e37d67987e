"""Owns the command line `defter`: its verbs, and the commands that need no server."""
