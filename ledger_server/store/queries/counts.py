"""Owns the counts of payments and findings: what is open whole, and what has ended within a window.

Each statement looks at a bounded number of rows, whatever the tenant has.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from asyncpg import Record

from ledger_server.domain.findings.finding import FindingState
from ledger_server.domain.ids import TenantKey
from ledger_server.store.database import AnyConnection

COUNT_LIMIT: Final = 50_000
"""Rows of one state, or findings, that are counted."""

OPEN_STATES: Final = (1, 2)
"""Those of deposits and withdrawals that are open; see `payments_open_idx`."""

_MAX_SUM: Final = 2**63 - 1

# The state is a literal: only for a literal can the planner tell whether the partial index covers it.
_PAYMENTS: Final = """
SELECT currency_code, provider, count(*) AS count, sum(amount) AS amount, min(create_time) AS oldest_time
FROM (
    SELECT currency_code, provider, amount, create_time FROM payments
    WHERE tenant_key = $1 AND kind = $2 AND state = {state} AND payment_number > $3 AND payment_number < $4
    ORDER BY payment_number LIMIT $5
) AS counted
GROUP BY currency_code, provider
ORDER BY currency_code, provider
"""
_OPEN_FINDINGS: Final = """
SELECT class, severity, state, provider, count(*) AS count, min(open_time) AS oldest_time
FROM (
    SELECT class, severity, state, provider, open_time FROM reconciliation_findings
    WHERE tenant_key = $1 AND state IN (1, 2, 5) ORDER BY provider, subject_time LIMIT $2
) AS counted
GROUP BY class, severity, state, provider
"""
_ENDED_FINDINGS: Final = """
SELECT class, severity, state, provider, count(*) AS count, min(open_time) AS oldest_time
FROM (
    SELECT class, severity, state, provider, open_time FROM reconciliation_findings
    WHERE tenant_key = $1 AND open_time >= $3 AND open_time < $4 ORDER BY open_time, fingerprint LIMIT $2
) AS counted
GROUP BY class, severity, state, provider
"""
_ENDED: Final = (FindingState.RESOLVED, FindingState.AUTO_RESOLVED)


class PaymentCount(NamedTuple):
    """Payments of one state, currency and provider account; see `WithdrawalCount` in the contract."""

    state: int
    currency: str
    provider: str
    payments: int
    amount: int
    oldest_time: datetime
    at_least: bool


class FindingCount(NamedTuple):
    """Findings of one class, severity, state and provider account; see the contract."""

    kind: int
    severity: int
    state: int
    provider: str
    findings: int
    oldest_time: datetime
    at_least: bool


async def count_payments(
    connection: AnyConnection,
    key: TenantKey,
    kind: int,
    states: Iterable[int],
    ended: tuple[int, int] | None,
) -> list[PaymentCount]:
    """Count payments by state, currency and provider account.

    Args:
        kind: `payment_rows.DEPOSIT` or `WITHDRAWAL`.
        states: all states of that kind.
        ended: between which numbers, both exclusive, those that have ended are counted; None: not at all.
    """
    counts: list[PaymentCount] = []
    for state in sorted(states):
        between = (0, 2**63 - 1) if state in OPEN_STATES else ended
        if between is None:
            continue
        rows = await connection.fetch(_PAYMENTS.format(state=int(state)), key, kind, *between, COUNT_LIMIT)
        full = sum(row["count"] for row in rows) >= COUNT_LIMIT
        counts += [
            PaymentCount(
                state,
                row["currency_code"],
                row["provider"],
                row["count"],
                min(int(row["amount"]), _MAX_SUM),
                row["oldest_time"],
                full or int(row["amount"]) > _MAX_SUM,
            )
            for row in rows
        ]
    return counts


async def count_findings(
    connection: AnyConnection, key: TenantKey, ended: tuple[datetime, datetime] | None
) -> list[FindingCount]:
    """Count findings; `ended` is the time of opening of resolved ones, from and before; None: not at all."""
    rows: Sequence[FindingCount] = _counts(await connection.fetch(_OPEN_FINDINGS, key, COUNT_LIMIT))
    if ended is not None:
        found = _counts(await connection.fetch(_ENDED_FINDINGS, key, COUNT_LIMIT, *ended))
        rows = [*rows, *(each for each in found if each.state in _ENDED)]
    return sorted(rows)


def _counts(rows: Sequence[Record]) -> list[FindingCount]:
    full = sum(row["count"] for row in rows) >= COUNT_LIMIT
    return [
        FindingCount(
            row["class"],
            row["severity"],
            row["state"],
            row["provider"],
            row["count"],
            row["oldest_time"],
            full,
        )
        for row in rows
    ]
