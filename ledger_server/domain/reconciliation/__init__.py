"""Owns the comparison of a provider's records with the ledger's payments: pure functions over both."""
