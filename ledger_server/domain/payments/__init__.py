"""Owns the money rules of payments: what is known of them, what follows from it, and what that moves."""
