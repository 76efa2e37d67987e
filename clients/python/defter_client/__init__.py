"""Own the hand-written Python client of the Defter ledger."""
