"""Own the stubs of the proto package defter; generated, do not edit."""
