"""Own the stubs of the proto package defter.backfill; generated, do not edit."""
