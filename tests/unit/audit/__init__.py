"""What the audit log says, and how much of it."""
