"""Reconciliation, with real providers, servers and databases."""
