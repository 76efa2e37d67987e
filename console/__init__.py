"""Owns the console: pages for the people who answer for the money.

It is a client of the ledger and nothing else: it has no database and no rule of money.
"""
