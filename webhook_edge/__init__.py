"""The webhook edge: takes providers' events in, verifies them, and hands them to the ledger."""
