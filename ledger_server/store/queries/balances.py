"""Owns the reads of an account's balance as of an instant or a record.

An account's counters after a record are those of its newest posting row up to that record. Holds that were
due by then must not count, even if their end was not recorded yet. Holds whose end was recorded later are
easy to find: a lane expires the due holds of an account before it writes anything else to the account, so
their `EXPIRED` rows follow without a row of another phase between. Holds whose end is still not recorded
stand in the indexes of open holds.
"""

from datetime import datetime
from typing import Final, NamedTuple

from asyncpg import Record

from ledger_server.domain.ids import TenantKey
from ledger_server.domain.ledger.accounts import Account, Counters
from ledger_server.store.database import AnyConnection
from ledger_server.store.final_time import FinalUntil, final_until_of
from ledger_server.store.lane_store import account_of, counters_of
from ledger_server.store.ledger_rows import ACCOUNTS, COUNTERS, listed
from ledger_server.store.queries.accounts import without_due


class BalanceAt(NamedTuple):
    """An account as it was known at a moment.

    Attributes:
        final: how far the tenant's journal is final, and its newest record now.
        sequence: the newest record at the moment asked for; None if it is still to come.
        account: None if it was not open then.
    """

    final: FinalUntil
    sequence: int | None
    account: Account | None
    counters: Counters


# The newest record at or before $3. Only the last record of a commit is indexed by time. The next commit may
# have begun before $3 and ended after it, so its records are looked at one by one, but only if the first of
# them is old enough. Materialized, since an inlined query would be repeated.
SEQUENCE_AT_TIME: Final = """
closed AS MATERIALIZED (
    SELECT COALESCE((
        SELECT c.sequence FROM journal c
        WHERE c.tenant_key = $1 AND c.closes_batch AND c.record_time <= $3
        ORDER BY c.record_time DESC, c.sequence DESC LIMIT 1
    ), 0) AS sequence
), at AS MATERIALIZED (
    SELECT GREATEST(closed.sequence, (
        SELECT j.sequence FROM journal j
        WHERE j.tenant_key = $1 AND j.sequence > closed.sequence AND j.record_time <= $3
            AND j.sequence < (
                SELECT n.sequence FROM journal n WHERE n.tenant_key = $1 AND n.closes_batch
                    AND n.record_time > $3 ORDER BY n.record_time, n.sequence LIMIT 1)
            AND EXISTS (
                SELECT 1 FROM journal f WHERE f.tenant_key = $1 AND f.sequence = closed.sequence + 1
                    AND f.record_time <= $3)
        ORDER BY j.sequence DESC LIMIT 1
    )) AS sequence, $3::timestamptz AS moment
    FROM closed
)
"""
_RECORD: Final = """
at AS MATERIALIZED (
    SELECT j.sequence, j.record_time AS moment FROM journal j
    WHERE j.tenant_key = $1 AND j.sequence = $3
)
"""


def _balance(at: str) -> str:
    """Return the balance of account $2 at (sequence, moment), as `at` makes them out of $3."""
    return f"""
WITH {at}
SELECT t.sequence AS head_sequence, t.record_time AS head_time, t.final_time, at.sequence,
    {listed(ACCOUNTS, "a")}, {listed(COUNTERS, "p")},
    dead.debits AS dead_debits, dead.credits AS dead_credits
FROM tenants t
LEFT JOIN at ON true
LEFT JOIN accounts a ON a.tenant_key = $1 AND a.account_id = $2 AND a.account_number <= at.sequence
LEFT JOIN LATERAL (
    SELECT {listed(COUNTERS)} FROM postings
    WHERE tenant_key = $1 AND account_number = a.account_number AND sequence <= at.sequence
    ORDER BY sequence DESC, leg DESC LIMIT 1
) AS p ON true
LEFT JOIN LATERAL (
    SELECT (sum(d.amount) FILTER (WHERE d.direction = 1))::bigint AS debits,
        (sum(d.amount) FILTER (WHERE d.direction = 2))::bigint AS credits
    FROM (
        SELECT e.direction, -e.pending_change AS amount
        FROM postings e
        CROSS JOIN LATERAL (
            SELECT 1 FROM journal j
            WHERE j.tenant_key = $1 AND j.sequence = e.sequence AND j.effective_time <= at.moment OFFSET 0
        ) AS died_by_then
        WHERE e.tenant_key = $1 AND e.account_number = a.account_number AND e.sequence > at.sequence
            AND e.sequence < COALESCE((
                SELECT o.sequence FROM postings o
                WHERE o.tenant_key = $1 AND o.account_number = a.account_number
                    AND o.sequence > at.sequence AND o.phase <> 5
                ORDER BY o.sequence, o.leg LIMIT 1
            ), {2**63 - 1})
        UNION ALL
        SELECT 1, h.amount - h.captured - h.released FROM holds h
        WHERE h.tenant_key = $1 AND h.debit_account_number = a.account_number AND h.state = 1
            AND h.expire_time <= at.moment AND h.hold_number <= at.sequence
        UNION ALL
        SELECT 2, h.amount - h.captured - h.released FROM holds h
        WHERE h.tenant_key = $1 AND h.credit_account_number = a.account_number AND h.state = 1
            AND h.expire_time <= at.moment AND h.hold_number <= at.sequence
    ) AS d
) AS dead ON true
WHERE t.tenant_key = $1
"""


_BALANCE_AT_TIME: Final = _balance(SEQUENCE_AT_TIME)
_BALANCE_AT_SEQUENCE: Final = _balance(_RECORD)


def balance_at_time_sql() -> str:
    """Return the statement behind `balance_at_time`: tenant key, account id, time."""
    return _BALANCE_AT_TIME


async def balance_at_time(
    connection: AnyConnection, key: TenantKey, account_id: str, moment: datetime
) -> BalanceAt | None:
    """Return an account's balance as it was known at an instant; None if there is no such tenant.

    If the instant is not final yet, a commit under way may still add records at or before it.
    """
    row = await connection.fetchrow(_BALANCE_AT_TIME, key, account_id, moment)
    return _balance_at_of(row)


async def balance_at_sequence(
    connection: AnyConnection, key: TenantKey, account_id: str, sequence: int
) -> BalanceAt | None:
    """Return an account's balance as a record left it; None if there is no such tenant.

    A hold that was past its expire time when the record was written counts as released.
    """
    row = await connection.fetchrow(_BALANCE_AT_SEQUENCE, key, account_id, sequence)
    return _balance_at_of(row)


def _balance_at_of(row: Record | None) -> BalanceAt | None:
    if row is None:
        return None
    counters = counters_of(row)
    return BalanceAt(
        final=final_until_of(row),
        sequence=row["sequence"],
        account=None if row["account_number"] is None else account_of(row),
        counters=without_due(counters, row["dead_debits"] or 0, row["dead_credits"] or 0),
    )
