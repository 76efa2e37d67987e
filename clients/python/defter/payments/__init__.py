"""Own the stubs of the proto package defter.payments; generated, do not edit."""
