"""Owns what the database tells of accounts below their lower limit, and of what else concerns enforcement."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from asyncpg import Record

from ledger_server.domain.findings.discrepancy import FindingClass
from ledger_server.domain.findings.finding import FindingState
from ledger_server.domain.ids import TenantKey
from ledger_server.domain.ledger.accounts import DEBIT_NORMAL, AccountState
from ledger_server.domain.state.facts import FactKind
from ledger_server.store.database import AnyConnection

SURVEY_ACCOUNTS: Final = 2_000
"""How many accounts are looked at by one statement: from a cold disk too, far below its time-out."""

_SUMS: Final = "posted_debits, posted_credits, pending_debits, pending_credits"
# The same rule as `stands_below` of the domain. No sum can overflow: a side counts no more than 2^63-1.
_AVAILABLE: Final = f"""
CASE WHEN a.kind IN ({", ".join(str(int(kind)) for kind in sorted(DEBIT_NORMAL))})
    THEN p.posted_debits - p.posted_credits - p.pending_credits
    ELSE p.posted_credits - p.posted_debits - p.pending_debits END
"""
_LIMITED: Final = f"a.min_available IS NOT NULL AND a.state <> {int(AccountState.CLOSED)}"
_PAGE: Final = f"""
SELECT count(*) AS count, max(account_number) AS last,
    array_agg(account_number) FILTER (WHERE below) AS below
FROM (
    SELECT a.account_number, {_LIMITED} AND COALESCE({_AVAILABLE}, 0) < a.min_available AS below
    FROM (
        SELECT account_number, kind, state, min_available FROM accounts
        WHERE tenant_key = $1 AND account_number > $2 ORDER BY account_number LIMIT $3
    ) a
    LEFT JOIN LATERAL (
        SELECT {_SUMS} FROM postings
        WHERE tenant_key = $1 AND account_number = a.account_number AND {_LIMITED}
        ORDER BY sequence DESC, leg DESC LIMIT 1
    ) p ON true
) looked_at
"""
_ACCOUNT_IDS: Final = """
SELECT a.account_number, a.account_id FROM unnest($2::bigint[]) AS wanted(account_number)
CROSS JOIN LATERAL (
    SELECT account_number, account_id FROM accounts
    WHERE tenant_key = $1 AND account_number = wanted.account_number LIMIT 1
) a
"""
_FINDINGS: Final = """
SELECT count(*) AS count, (array_agg(fingerprint ORDER BY fingerprint))[1:$5] AS fingerprints
FROM reconciliation_findings
WHERE tenant_key = $1 AND state IN (1, 2, 5) AND state = ANY($2::smallint[]) AND class = ANY($3::smallint[])
    AND NOT EXISTS (SELECT 1 FROM unnest($4::bytea[]) AS known(known) WHERE known.known = fingerprint)
"""
_DUE_HOLDS: Final = """
SELECT hold_number FROM holds
WHERE tenant_key = $1 AND state = 1 AND expire_time IS NOT NULL AND expire_time <= $2
ORDER BY expire_time LIMIT $3
"""
_SWITCH_KINDS: Final = f"({FactKind.TENANT_CREATED:d}, {FactKind.BALANCE_ENFORCEMENT_SET:d})"
_NEWEST_SWITCH: Final = f"""
SELECT sequence, record, record_time FROM journal
WHERE tenant_key = $1 AND kind IN {_SWITCH_KINDS} ORDER BY sequence DESC LIMIT 1
"""
_BREACHES: Final = """
SELECT
    (SELECT count(*) FROM journal WHERE tenant_key = $1 AND limit_breached AND sequence > $2) AS transactions,
    (SELECT count(*) FROM holds WHERE tenant_key = $1 AND limit_breached AND hold_number > $2) AS holds
"""


class SurveyPage(NamedTuple):
    """Some accounts, in the order of their numbers: which stand below their lower limit, and where to go on.

    `last` is None where no account is left.
    """

    below: Sequence[int]
    last: int | None


class NewestSwitch(NamedTuple):
    """The record that set a tenant's mode last."""

    sequence: int
    record: bytes
    record_time: datetime


class Breaches(NamedTuple):
    """How many transactions and holds have broken a limit and passed."""

    transactions: int
    holds: int


async def survey_page(connection: AnyConnection, key: TenantKey, after: int) -> SurveyPage:
    """Look at the accounts behind a number."""
    row = await _one(connection, _PAGE, key, after, SURVEY_ACCOUNTS)
    full = row["count"] == SURVEY_ACCOUNTS
    return SurveyPage(row["below"] or (), row["last"] if full else None)


async def account_ids(
    connection: AnyConnection, key: TenantKey, account_numbers: Sequence[int]
) -> Mapping[int, str]:
    """Return the ids of accounts that exist by their numbers."""
    rows = await connection.fetch(_ACCOUNT_IDS, key, account_numbers)
    return {row["account_number"]: row["account_id"] for row in rows}


async def blocking_findings(
    connection: AnyConnection,
    key: TenantKey,
    classes: Collection[FindingClass],
    states: Collection[FindingState],
    *,
    apart_from: Sequence[bytes] = (),
    examples: int,
) -> tuple[int, tuple[bytes, ...]]:
    """Count the findings of these classes and states, and return the fingerprints of some.

    Args:
        apart_from: the fingerprints of findings that are left out.
    """
    row = await _one(
        connection,
        _FINDINGS,
        key,
        [int(each) for each in states],
        [int(each) for each in classes],
        apart_from,
        examples,
    )
    return row["count"], tuple(row["fingerprints"] or ())


async def due_holds(connection: AnyConnection, key: TenantKey, now: datetime, *, limit: int) -> set[int]:
    """Return the numbers of open holds whose time has come, no more than `limit` of them."""
    return {row["hold_number"] for row in await connection.fetch(_DUE_HOLDS, key, now, limit)}


async def newest_switch(connection: AnyConnection, key: TenantKey) -> NewestSwitch:
    """Return the record that set the mode of a tenant that exists."""
    row = await _one(connection, _NEWEST_SWITCH, key)
    return NewestSwitch(row["sequence"], row["record"], row["record_time"])


async def breaches_since(connection: AnyConnection, key: TenantKey, sequence: int) -> Breaches:
    """Count what has broken a limit behind a record."""
    row = await _one(connection, _BREACHES, key, sequence)
    return Breaches(row["transactions"], row["holds"])


async def _one(connection: AnyConnection, statement: str, *values: object) -> Record:
    """Return the one row of a statement that always has one: counts do, and record 1 sets a mode."""
    row = await connection.fetchrow(statement, *values)
    assert row is not None
    return row
