"""Owns the webhook edge: it receives providers' events, verifies them, and hands them to the ledger."""
