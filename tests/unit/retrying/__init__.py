"""Own the tests of when a call is made again."""
