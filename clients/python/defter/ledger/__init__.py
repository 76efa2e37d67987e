"""Own the stubs of the proto package defter.ledger; generated, do not edit."""
