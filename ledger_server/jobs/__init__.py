"""Owns the background jobs: hold expiry, owed calls, parked events, reconciliation, settlement, comparisons."""
