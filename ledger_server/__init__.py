"""Own the ledger service: pure rules, the lane, storage, RPCs and background jobs."""
