"""The command line as operators run it: real processes against real servers."""
