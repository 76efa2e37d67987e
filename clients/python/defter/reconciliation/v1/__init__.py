"""Own the stubs of the proto package defter.reconciliation.v1; generated, do not edit."""
