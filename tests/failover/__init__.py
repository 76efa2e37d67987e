"""Failover under load: a synchronous standby takes over, again and again."""
