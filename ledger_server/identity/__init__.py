"""Owns who calls and what they may do, as pure functions: no clock, no wire, no file."""
