"""Owns the adapters to payment service providers: one per provider, all with the same interface."""
