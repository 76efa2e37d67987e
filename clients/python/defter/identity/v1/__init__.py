"""Own the stubs of the proto package defter.identity.v1; generated, do not edit."""
