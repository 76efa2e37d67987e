"""Own the tests of adapters against running providers."""
