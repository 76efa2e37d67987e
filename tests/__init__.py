"""Own the tests of Defter."""
