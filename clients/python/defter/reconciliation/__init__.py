"""Own the stubs of the proto package defter.reconciliation; generated, do not edit."""
