"""Upgrade of a large database under traffic, from each earlier revision of the schema."""
