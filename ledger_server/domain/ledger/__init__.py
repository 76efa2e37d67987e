"""Owns the rules of accounts, transactions and holds, and the checks that need no state."""
