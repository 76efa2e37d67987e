"""Owns the background jobs: holds, owed calls, parked events, reconciliation, settlement, comparisons."""
