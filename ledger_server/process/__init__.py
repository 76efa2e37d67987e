"""Owns a server process: settings, wiring, logs, running and ending."""
