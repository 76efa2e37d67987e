"""Own the stubs of the proto package defter.identity; generated, do not edit."""
