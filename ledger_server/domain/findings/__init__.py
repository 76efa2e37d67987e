"""Owns discrepancies as they are seen, and the life of the findings about them."""
