"""Owns the proof that a journal is unaltered and that what is stored follows from it."""
