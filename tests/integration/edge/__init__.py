"""Own the tests of the edge with a real ledger behind it."""
