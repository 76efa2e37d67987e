"""Signed notes: texts with Ed25519 signatures, as `defter head` signs heads and the console statements."""
