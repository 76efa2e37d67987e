"""Owns a payment provider that one can run: it pays nobody, keeps everything, and misbehaves on request."""
