"""Own the stubs of the proto package defter.backfill.v1; generated, do not edit."""
