"""Own the tests of the webhook edge: verdicts on deliveries, genuine and hostile."""
