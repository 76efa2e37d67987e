"""Owns the comparison of a legacy system's balances with the ledger's."""
