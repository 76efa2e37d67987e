"""Own the stubs of the proto package defter.payments.v1; generated, do not edit."""
