"""Owns adjustments: transactions that people ask for by hand, and when another person has to approve them."""
