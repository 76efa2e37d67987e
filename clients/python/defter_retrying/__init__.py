"""Own when a call is made again, for everything that calls the ledger; it knows no service."""
