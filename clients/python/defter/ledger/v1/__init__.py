"""Own the stubs of the proto package defter.ledger.v1; generated, do not edit."""
