"""A game service in front of the ledger: docs/first-integration.md walks through it."""
