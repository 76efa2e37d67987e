"""Signing in by an OpenID Connect provider: what is asked of it, and what its answers prove (decision 55)."""
