"""Owns the trial balance: the sums of all accounts of a tenant."""

from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

from asyncpg import Record

from ledger_server.domain.ids import TenantKey
from ledger_server.domain.ledger.accounts import AccountKind
from ledger_server.store.database import AnyConnection
from ledger_server.store.lane_store import read_head
from ledger_server.store.queries.snapshot import REPORT_SECONDS, report_snapshot

_SUMS: Final = """
SELECT a.currency_code, a.kind, count(*) AS account_count,
    COALESCE(sum(p.posted_debits), 0) AS posted_debits,
    COALESCE(sum(p.posted_credits), 0) AS posted_credits,
    COALESCE(sum(p.pending_debits), 0) AS pending_debits,
    COALESCE(sum(p.pending_credits), 0) AS pending_credits
FROM accounts a
LEFT JOIN LATERAL (
    SELECT posted_debits, posted_credits, pending_debits, pending_credits FROM postings
    WHERE tenant_key = $1 AND account_number = a.account_number
    ORDER BY sequence DESC, leg DESC LIMIT 1
) AS p ON true
WHERE a.tenant_key = $1
GROUP BY a.currency_code, a.kind ORDER BY a.currency_code, a.kind
"""
_DUE: Final = """
SELECT a.currency_code, a.kind, sum(side.debits) AS debits, sum(side.credits) AS credits
FROM holds h
CROSS JOIN LATERAL (VALUES
    (h.debit_account_number, h.amount - h.captured - h.released, 0),
    (h.credit_account_number, 0, h.amount - h.captured - h.released)
) AS side(account_number, debits, credits)
JOIN accounts a ON a.tenant_key = $1 AND a.account_number = side.account_number
WHERE h.tenant_key = $1 AND h.state = 1 AND h.expire_time <= $2
GROUP BY a.currency_code, a.kind
"""


class TrialLine(NamedTuple):
    """The sums of all accounts of one currency and kind, in minor units; they may exceed 64 bits."""

    currency: str
    kind: AccountKind
    account_count: int
    posted_debits: int
    posted_credits: int
    pending_debits: int
    pending_credits: int


async def trial_balance(
    connection: AnyConnection, key: TenantKey, now: datetime
) -> tuple[int, list[TrialLine]]:
    """Return the tenant's newest sequence and the sums as of it; due holds count as released."""
    async with report_snapshot(connection):
        head = await read_head(connection, key, lock=False)
        if head is None:
            return 0, []
        rows = await connection.fetch(_SUMS, key, timeout=REPORT_SECONDS)
        due_rows = await connection.fetch(_DUE, key, max(now, head.record_time), timeout=REPORT_SECONDS)
    due = {(row["currency_code"], row["kind"]): (row["debits"], row["credits"]) for row in due_rows}
    none_due = (Decimal(0), Decimal(0))
    return head.sequence, [
        _line(row, *due.get((row["currency_code"], row["kind"]), none_due)) for row in rows
    ]


def _line(row: Record, due_debits: Decimal, due_credits: Decimal) -> TrialLine:
    return TrialLine(
        currency=row["currency_code"],
        kind=AccountKind(row["kind"]),
        account_count=row["account_count"],
        posted_debits=int(row["posted_debits"]),
        posted_credits=int(row["posted_credits"]),
        pending_debits=int(row["pending_debits"] - due_debits),
        pending_credits=int(row["pending_credits"] - due_credits),
    )
