"""Owns what a lane reads: the head, what commands name, and what was decided before.

All statements run on a connection of the lane's pool (see `database.py`), name one tenant, and use
an index.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from asyncpg import Record
from msgspec import Struct

from ledger_server.domain.adjustments.adjustment import AdjustmentPolicy
from ledger_server.domain.ids import Epoch, TenantIds, TenantKey, epochs_of
from ledger_server.domain.ledger.accounts import ZERO, Account, AccountKind, AccountState, Counters, Limits
from ledger_server.domain.ledger.holds import Hold, HoldState
from ledger_server.domain.ledger.transactions import TransactionType
from ledger_server.domain.payments.withdrawal import WithdrawalPolicy
from ledger_server.domain.state.commands import Enforcement, Method, RequestKey
from ledger_server.store.adjustment_rows import adjustment_policy_in
from ledger_server.store.database import AnyConnection
from ledger_server.store.ledger_rows import ACCOUNTS, COUNTERS, HOLDS, listed
from ledger_server.store.payment_rows import policy_of

INSTANT: Final = timedelta(microseconds=1)


class Head(Struct, frozen=True, kw_only=True):
    """The newest record of a tenant's journal, and how strict the tenant is."""

    tenant_id: str
    sequence: int
    chain_hash: bytes
    record_time: datetime
    enforcement: Enforcement
    create_time: datetime
    policy: WithdrawalPolicy
    adjustment_policy: AdjustmentPolicy
    epochs: tuple[Epoch, ...]
    """Those in which the tenant's records were written."""
    epoch: str
    """The database's epoch, in which the next record is written."""
    final_time: datetime | None
    """No record may be written with a time at or before it."""

    @property
    def earliest_time(self) -> datetime:
        """The earliest time that the next record may have: time never goes back, nor into what is final."""
        if self.final_time is None:
            return self.record_time
        return max(self.record_time, self.final_time + INSTANT)


class StoredOutcome(NamedTuple):
    """What was decided for a request, and the digest of the request it was decided for."""

    digest: bytes
    record: bytes | None
    """None where the digest is not that of the request which was asked about."""


class LoadedAccount(NamedTuple):
    """An account, its counters, and when its next open hold expires."""

    account: Account
    counters: Counters
    next_expiry: datetime | None


HEAD_COLUMNS: Final = "tenant_id, sequence, chain_hash, record_time, balance_enforcement, create_time"
_READ_HEAD: Final = f"""
SELECT {HEAD_COLUMNS}, withdrawal_policy, adjustment_policy, final_time, epochs,
    (SELECT epoch FROM history WHERE history_key = 1) AS epoch
FROM tenants WHERE tenant_key = $1
"""
_LOCK_HEAD: Final = f"{_READ_HEAD} FOR UPDATE"
_READ_CHAIN_HASH: Final = "SELECT chain_hash FROM journal WHERE tenant_key = $1 AND sequence = $2"
_READ_EPOCHS: Final = "SELECT epochs FROM tenants WHERE tenant_key = $1"

# Every look-up stands in a LATERAL with a LIMIT or OFFSET, which keeps it one. A plain join leaves the
# planner a choice; plans are made once, maybe while tables are empty and look cheap to read whole, and
# would do just that until somebody analyses the tables.
_LOAD_ACCOUNTS: Final = f"""
SELECT {listed(ACCOUNTS, "a")}, {listed(COUNTERS, "p")},
    LEAST(
        (SELECT min(h.expire_time) FROM holds h WHERE h.tenant_key = $1
            AND h.debit_account_number = a.account_number AND h.state = 1),
        (SELECT min(h.expire_time) FROM holds h WHERE h.tenant_key = $1
            AND h.credit_account_number = a.account_number AND h.state = 1)
    ) AS next_expiry
FROM unnest($2::text[]) AS wanted(account_id)
CROSS JOIN LATERAL (
    SELECT {listed(ACCOUNTS)} FROM accounts WHERE tenant_key = $1 AND account_id = wanted.account_id LIMIT 1
) a
LEFT JOIN LATERAL (
    SELECT {listed(COUNTERS)} FROM postings WHERE tenant_key = $1 AND account_number = a.account_number
    ORDER BY sequence DESC, leg DESC LIMIT 1
) p ON true
"""

HOLD_COLUMNS: Final = f"""
{listed(HOLDS, "h")}, d.account_id AS debit_account_id, c.account_id AS credit_account_id
"""
HOLD_ACCOUNTS: Final = """
CROSS JOIN LATERAL (
    SELECT account_id FROM accounts
    WHERE tenant_key = $1 AND account_number = h.debit_account_number LIMIT 1
) d
CROSS JOIN LATERAL (
    SELECT account_id FROM accounts
    WHERE tenant_key = $1 AND account_number = h.credit_account_number LIMIT 1
) c
"""
_WANTED_HOLD: Final = f"""
CROSS JOIN LATERAL (
    SELECT {listed(HOLDS)} FROM holds WHERE tenant_key = $1 AND hold_number = wanted.hold_number LIMIT 1
) h
"""
_LOAD_HOLDS: Final = f"""
SELECT {HOLD_COLUMNS} FROM unnest($2::bigint[]) AS wanted(hold_number) {_WANTED_HOLD} {HOLD_ACCOUNTS}
"""
_LOAD_DUE_HOLDS: Final = f"""
SELECT {HOLD_COLUMNS} FROM (
    (SELECT due.hold_number FROM unnest($2::bigint[]) AS a(account_number)
    CROSS JOIN LATERAL (
        SELECT hold_number FROM holds WHERE tenant_key = $1
            AND debit_account_number = a.account_number AND state = 1 AND expire_time <= $3 LIMIT $4
    ) AS due LIMIT $4)
    UNION
    (SELECT due.hold_number FROM unnest($2::bigint[]) AS a(account_number)
    CROSS JOIN LATERAL (
        SELECT hold_number FROM holds WHERE tenant_key = $1
            AND credit_account_number = a.account_number AND state = 1 AND expire_time <= $3 LIMIT $4
    ) AS due LIMIT $4)
    LIMIT $4
) AS wanted {_WANTED_HOLD} {HOLD_ACCOUNTS}
"""
_NEXT_EXPIRIES: Final = """
SELECT a.account_number, LEAST(
    (SELECT min(h.expire_time) FROM holds h WHERE h.tenant_key = $1
        AND h.debit_account_number = a.account_number AND h.state = 1 AND h.expire_time > $3),
    (SELECT min(h.expire_time) FROM holds h WHERE h.tenant_key = $1
        AND h.credit_account_number = a.account_number AND h.state = 1 AND h.expire_time > $3)
) AS next_expiry FROM unnest($2::bigint[]) AS a(account_number)
"""
_LOAD_TRANSACTIONS: Final = """
SELECT j.sequence, j.record, r.sequence AS reversed_by
FROM unnest($2::bigint[]) AS wanted(sequence)
CROSS JOIN LATERAL (
    SELECT sequence, record FROM journal
    WHERE tenant_key = $1 AND sequence = wanted.sequence AND transaction_type IS NOT NULL LIMIT 1
) j
LEFT JOIN LATERAL (
    SELECT sequence FROM journal WHERE tenant_key = $1 AND reverses = j.sequence LIMIT 1
) r ON true
"""
_FIND_OUTCOMES: Final = """
SELECT j.method, j.idempotency_key, j.player_id, j.request_digest,
    CASE WHEN j.request_digest = wanted.request_digest THEN j.record END AS record
FROM unnest($2::smallint[], $3::text[], $4::text[], $5::bytea[])
    AS wanted(method, idempotency_key, player_id, request_digest)
CROSS JOIN LATERAL (
    SELECT method, idempotency_key, player_id, request_digest, record FROM journal
    WHERE tenant_key = $1 AND idempotency_key = wanted.idempotency_key AND method = wanted.method
        AND player_id = wanted.player_id LIMIT 1
) j
"""


async def read_head(connection: AnyConnection, key: TenantKey, *, lock: bool) -> Head | None:
    """Return the tenant's head, locked until the end of the database transaction if so asked."""
    row = await connection.fetchrow(_LOCK_HEAD if lock else _READ_HEAD, key)
    if row is None:
        return None
    return Head(
        tenant_id=row["tenant_id"],
        sequence=row["sequence"],
        chain_hash=row["chain_hash"],
        record_time=row["record_time"],
        enforcement=Enforcement(row["balance_enforcement"]),
        create_time=row["create_time"],
        policy=policy_of(row["withdrawal_policy"]),
        adjustment_policy=adjustment_policy_in(row["adjustment_policy"]),
        epochs=epochs_of(row["epochs"]),
        epoch=row["epoch"] or "",
        final_time=row["final_time"],
    )


async def read_ids(connection: AnyConnection, key: TenantKey) -> TenantIds:
    """Return what makes and reads the tenant's ids; plain ones where there is no such tenant."""
    text = await connection.fetchval(_READ_EPOCHS, key)
    return TenantIds(key, epochs_of(text or ""))


async def read_chain_hash(connection: AnyConnection, key: TenantKey, sequence: int) -> bytes | None:
    """Return the chain hash of a record; None where there is none of that number."""
    found: bytes | None = await connection.fetchval(_READ_CHAIN_HASH, key, sequence)
    return found


async def load_accounts(
    connection: AnyConnection, key: TenantKey, account_ids: Sequence[str]
) -> dict[str, LoadedAccount]:
    """Return those of the accounts that exist."""
    rows = await connection.fetch(_LOAD_ACCOUNTS, key, account_ids)
    return {
        row["account_id"]: LoadedAccount(account_of(row), counters_of(row), row["next_expiry"])
        for row in rows
    }


async def load_holds(connection: AnyConnection, key: TenantKey, numbers: Sequence[int]) -> dict[int, Hold]:
    """Return those of the holds that exist."""
    rows = await connection.fetch(_LOAD_HOLDS, key, numbers)
    return {row["hold_number"]: hold_of(row) for row in rows}


async def load_due_holds(
    connection: AnyConnection, key: TenantKey, account_numbers: Sequence[int], now: datetime, *, limit: int
) -> dict[int, Hold]:
    """Return open holds on these accounts whose time has come, no more than `limit` of them."""
    rows = await connection.fetch(_LOAD_DUE_HOLDS, key, account_numbers, now, limit)
    return {row["hold_number"]: hold_of(row) for row in rows}


async def next_expiries(
    connection: AnyConnection, key: TenantKey, account_numbers: Sequence[int], now: datetime
) -> dict[int, datetime | None]:
    """Return for each account when its next open hold after `now` expires."""
    rows = await connection.fetch(_NEXT_EXPIRIES, key, account_numbers, now)
    return {row["account_number"]: row["next_expiry"] for row in rows}


async def load_transactions(
    connection: AnyConnection, key: TenantKey, sequences: Sequence[int]
) -> dict[int, tuple[bytes, int | None]]:
    """Return the records that post these transactions, each with the sequence of its reversal."""
    rows = await connection.fetch(_LOAD_TRANSACTIONS, key, sequences)
    return {row["sequence"]: (row["record"], row["reversed_by"]) for row in rows}


async def find_outcomes(
    connection: AnyConnection, key: TenantKey, requests: Sequence[tuple[RequestKey, bytes | None]]
) -> dict[RequestKey, StoredOutcome]:
    """Return what was decided before for these requests, each with its digest.

    Records are read for retries alone, which are as large as what they retry; another request under a used
    key is refused, and small ones must not make the lane read large ones.
    """
    rows = await connection.fetch(
        _FIND_OUTCOMES,
        key,
        [request.method for request, _ in requests],
        [request.idempotency_key for request, _ in requests],
        [request.player_id for request, _ in requests],
        [digest for _, digest in requests],
    )
    found: dict[RequestKey, StoredOutcome] = {}
    for row in rows:
        request = RequestKey(Method(row["method"]), row["idempotency_key"], row["player_id"])
        # Several requests under one key ask several times; who retries has the record.
        if request not in found or row["record"] is not None:
            found[request] = StoredOutcome(row["request_digest"], row["record"])
    return found


def account_of(row: Record) -> Account:
    """Return the account in a row of the accounts table."""
    return Account(
        number=row["account_number"],
        account_id=row["account_id"],
        kind=AccountKind(row["kind"]),
        currency=row["currency_code"],
        state=AccountState(row["state"]),
        limits=Limits(min_available=row["min_available"], max_balance=row["max_balance"]),
        open_time=row["open_time"],
        metadata=_metadata_of(row["metadata"]),
        continues=row["continues"] or "",
        continued_by=row["continued_by"] or "",
    )


def counters_of(row: Record) -> Counters:
    """Return the counters in a row of the postings table, or zero where there is none yet."""
    if row["version"] is None:
        return ZERO
    return Counters(*(row[name] for name in COUNTERS))


def hold_of(row: Record) -> Hold:
    """Return the hold in a row of `HOLD_COLUMNS`."""
    return Hold(
        number=row["hold_number"],
        debit_account_id=row["debit_account_id"],
        credit_account_id=row["credit_account_id"],
        currency=row["currency_code"],
        amount=row["amount"],
        captured=row["captured"],
        released=row["released"],
        state=HoldState(row["state"]),
        expire_time=row["expire_time"],
        type=TransactionType(row["transaction_type"]),
        reference=row["reference"] or "",
        metadata=_metadata_of(row["metadata"]),
        place_time=row["place_time"],
        end_time=row["end_time"],
        limit_breached=row["limit_breached"],
    )


def _metadata_of(text: str | None) -> Mapping[str, str]:
    return json.loads(text) if text else {}
