"""Own what several kinds of test need: external tools, builders and checks."""
