"""Own what the generated parts of all clients are made from, and how each language writes it."""
