"""Reconciliation at work: runs that read a provider's records and compare them with the ledger."""
