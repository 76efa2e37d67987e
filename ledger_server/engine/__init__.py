"""Owns the engine: lanes that decide and write, reads, the bytes of records, and verification."""
