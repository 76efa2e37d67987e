"""Owns the pages: what each asks of the ledger, and what it shows of the answer."""
