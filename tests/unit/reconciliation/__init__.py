"""Reconciliation without a database: what providers say, read and added up."""
