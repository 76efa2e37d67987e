"""Owns reconciliation runs: they read a provider's records and compare them with the ledger."""
