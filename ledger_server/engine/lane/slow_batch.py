"""Owns what is told of batches that took long: what they did, in numbers, and where the time went."""

import time
from collections import Counter
from typing import Final

import structlog

from ledger_server.engine.lane.batch import Batch

log = structlog.get_logger()

_MOST_KINDS: Final = 8


def tell_if_slow(tenant_id: str, batch: Batch, *, commit_seconds: float, slow_seconds: float) -> None:
    """Log a batch that has just been committed, if it or its wait for the head's lock took long.

    Args:
        commit_seconds: how long the commit itself took.
        slow_seconds: from here on it counts as long.
    """
    # Under the head's lock the batch is opened only once the lock is there, which may have taken long.
    seconds = max(time.monotonic() - batch.open_time, commit_seconds)
    if seconds < slow_seconds:
        return
    kinds = Counter(row.fact.kind.name.lower() for row in batch.rows)
    log.warning(
        "a batch was slow",
        tenant_id=tenant_id,
        seconds=round(seconds, 3),
        commit_seconds=round(commit_seconds, 3),
        calls=len(batch.works),
        requests=batch.request_count,
        records=len(batch.rows),
        size_bytes=batch.size,
        kinds=dict(kinds.most_common(_MOST_KINDS)),
    )
