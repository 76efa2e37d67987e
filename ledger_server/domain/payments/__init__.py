"""Owns the money rules of payments: what is known of a payment, and the state and money that follow."""
