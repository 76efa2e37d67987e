"""Owns the rules of accounts, transactions and holds: what each is, and the checks that need no state."""
