"""Owns what the ledger says to payment service providers: one adapter per provider, all alike."""
