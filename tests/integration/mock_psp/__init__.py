"""Own the tests of the running mock provider: real sockets, and a program of its own."""
