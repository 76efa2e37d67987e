"""Owns the bytes of journal records: how facts are written, and how they are read back."""
