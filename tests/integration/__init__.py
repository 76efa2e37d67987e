"""Own the tests that run against a real PostgreSQL."""
