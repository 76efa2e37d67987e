"""Own the table of the findings that keep calls from being resumed: class, urgency, state and time."""

from __future__ import annotations

from datetime import timedelta
from itertools import product

import asyncpg

from ledger_server.domain.findings.discrepancy import LOSS_SEVERITIES, TELL_OF_LOSS, FindingClass, Severity
from ledger_server.domain.findings.finding import UNRESOLVED, FindingState
from ledger_server.store.history_store import findings_of_loss
from tests.support.clock import FakeClock
from tests.support.engine import KEY, TENANT, engine
from tests.support.findings import NOON

HOUR = timedelta(hours=1)
SINCE, NOTICED = NOON, NOON + HOUR
BEFORE = NOON - HOUR
# When it happened, when the finding was opened, and when it was changed last.
TIMES = [
    (SINCE, BEFORE, BEFORE),
    (BEFORE, BEFORE, NOTICED),
    (BEFORE, BEFORE, SINCE),
    (BEFORE, NOTICED, NOTICED),
    (NOTICED + HOUR, BEFORE, BEFORE),
]
INSERT = """
INSERT INTO reconciliation_findings (tenant_key, fingerprint, class, severity, state, version, provider,
    payment_number, assignee, subject_time, open_time, update_time, changed_by, body)
VALUES ($1, $2, $3, $4, $5, 1, 'mock', NULL, '', $6, $7, $8, 1, '')
"""


async def test_findings_that_touch_the_loss_are_counted_and_named(
    database_url: str, clock: FakeClock
) -> None:
    """Each mix counts exactly if the rule says so; one that was reopened since counts as a new one."""
    async with engine(database_url, clock) as running:
        await running.create_tenant()
    connection = await asyncpg.connect(database_url)
    rows = list(product(FindingClass, Severity, FindingState, TIMES))
    wanted = []
    for number, (kind, severity, state, (subject, opened, changed)) in enumerate(rows):
        fingerprint = number.to_bytes(16, "big")
        touches = subject >= SINCE or opened >= NOTICED
        touches = touches or (state is FindingState.REOPENED and changed >= NOTICED)
        if kind in TELL_OF_LOSS and severity in LOSS_SEVERITIES and state in UNRESOLVED and touches:
            wanted.append((TENANT, fingerprint))
    try:
        await connection.executemany(
            INSERT,
            [
                (KEY, number.to_bytes(16, "big"), int(kind), int(severity), int(state), *times)
                for number, (kind, severity, state, times) in enumerate(rows)
            ],
        )
        count, found = await findings_of_loss(connection, SINCE, NOTICED, examples=3)
        everything, all_found = await findings_of_loss(connection, SINCE, NOTICED, examples=10_000)
    finally:
        await connection.close()

    assert count == everything == len(wanted) > 0
    assert [tuple(each) for each in found] == wanted[:3]
    assert [tuple(each) for each in all_found] == wanted
