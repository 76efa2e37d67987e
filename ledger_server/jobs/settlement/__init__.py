"""Owns settlement reports: read from a file, kept as a whole, and told as findings and providers' records."""
