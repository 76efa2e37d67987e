"""The calls that the ledger owes to providers."""
