"""Own the background jobs: hold expiry, outbox dispatch, parked events."""
