"""Own the tests of the mock provider's rules, without its HTTP."""
