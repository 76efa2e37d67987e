"""A payment provider one can run: it pays nobody, remembers everything, and misbehaves on request."""
