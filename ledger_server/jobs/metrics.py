"""Owns the measures of background jobs."""

from typing import Final

from prometheus_client import Counter

CALLS: Final = Counter("defter_provider_calls_total", "Answers of providers", ["kind", "answer"])
PARKED_REPLAYS: Final = Counter("defter_parked_event_replays_total", "Parked events that were tried again")
