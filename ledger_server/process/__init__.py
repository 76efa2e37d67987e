"""Owns a server process: settings, wiring, logs, how it runs and how it ends."""
