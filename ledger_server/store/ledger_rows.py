"""Owns the rows of the ledger's facts: the journal, statement lines, holds and accounts."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from msgspec import Struct

from ledger_server.domain.ledger.accounts import Account
from ledger_server.domain.ledger.holds import Hold
from ledger_server.domain.state.commands import Method, RequestKey
from ledger_server.domain.state.facts import Fact, FactKind


class JournalRow(Struct, frozen=True, gc=False):
    """A fact on its way to the journal."""

    sequence: int
    fact: Fact
    request: RequestKey | None
    digest: bytes | None
    record_time: datetime
    record: bytes
    chain_hash: bytes
    content: bytes
    """The fact's own message, as it stands in the record."""


# The columns behind `tenant_key` with their types, in the order of the row builders below.
JOURNAL: Final = {
    "sequence": "bigint",
    "kind": "smallint",
    "method": "smallint",
    "idempotency_key": "text",
    "player_id": "text",
    "request_digest": "bytea",
    "transaction_type": "smallint",
    "reference": "text",
    "reverses": "bigint",
    "limit_breached": "boolean",
    "effective_time": "timestamptz",
    "record_time": "timestamptz",
    "closes_batch": "boolean",
    "record": "bytea",
    "chain_hash": "bytea",
}
POSTINGS: Final = {
    "account_number": "bigint",
    "sequence": "bigint",
    "leg": "smallint",
    "phase": "smallint",
    "direction": "smallint",
    "amount": "bigint",
    "pending_change": "bigint",
    "posted_debits": "bigint",
    "posted_credits": "bigint",
    "pending_debits": "bigint",
    "pending_credits": "bigint",
    "version": "bigint",
}
HOLDS: Final = {
    "hold_number": "bigint",
    "debit_account_number": "bigint",
    "credit_account_number": "bigint",
    "currency_code": "text",
    "amount": "bigint",
    "captured": "bigint",
    "released": "bigint",
    "state": "smallint",
    "expire_time": "timestamptz",
    "transaction_type": "smallint",
    "reference": "text",
    "metadata": "jsonb",
    "place_time": "timestamptz",
    "end_time": "timestamptz",
    "limit_breached": "boolean",
}
ACCOUNTS: Final = {
    "account_number": "bigint",
    "account_id": "text",
    "kind": "smallint",
    "currency_code": "text",
    "state": "smallint",
    "min_available": "bigint",
    "max_balance": "bigint",
    "open_time": "timestamptz",
    "metadata": "jsonb",
    "continues": "text",
    "continued_by": "text",
}
# Of a player who is forgotten: without a key, which no record has. Whoever makes one writes it.
FORGOTTEN: Final = {
    "player_id": "text",
    "forgotten_by": "bigint",
    "key_name": "text",
    "sealed_key": "bytea",
}

COUNTERS: Final = ("posted_debits", "posted_credits", "pending_debits", "pending_credits", "version")
"""The columns of a statement line that hold its account's counters after it."""

LEDGER_TABLES: Final = {
    "journal": JOURNAL,
    "postings": POSTINGS,
    "holds": HOLDS,
    "accounts": ACCOUNTS,
    "player_keys": FORGOTTEN,
}
# The columns that a later fact may change.
LEDGER_UPSERTS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "holds": (
        "hold_number",
        ("amount", "captured", "released", "state", "expire_time", "end_time", "limit_breached"),
    ),
    "accounts": ("account_number", ("state", "min_available", "max_balance", "continued_by")),
    # This destroys the key that was there.
    "player_keys": ("player_id", ("forgotten_by", "key_name", "sealed_key")),
}

_POSTING_KINDS: Final = frozenset({FactKind.TRANSACTION_POSTED, FactKind.HOLD_CAPTURED})
# The request columns of a record that no request asked for.
_NOT_ASKED: Final[tuple[Method | None, str | None, str]] = (None, None, "")


def journal_rows(rows: Sequence[JournalRow]) -> list[tuple[Any, ...]]:
    """Return the journal's rows of one commit, in the order of `JOURNAL`."""
    last = rows[-1].sequence
    records = []
    for row in rows:
        fact, request = row.fact, row.request
        kind = fact.kind
        if request is None:
            asked = _NOT_ASKED
        else:
            asked = (request.method, request.idempotency_key, request.player_id)
        if kind in _POSTING_KINDS:
            transaction = fact.transaction  # type: ignore[union-attr]  # both kinds carry one
            posted = (
                transaction.type,
                transaction.reference or None,
                transaction.reverses,
                transaction.limit_breached,
                transaction.effective_time,
            )
        elif kind is FactKind.HOLD_EXPIRED:
            # Reads of the past find here when the hold expired, however late the expiry was recorded.
            posted = (None, None, None, False, fact.hold.end_time)  # type: ignore[union-attr]  # it has a hold
        else:
            posted = (None, None, None, False, row.record_time)
        records.append(
            (
                row.sequence,
                kind,
                *asked,
                row.digest,
                *posted,
                row.record_time,
                row.sequence == last,
                row.record,
                row.chain_hash,
            )
        )
    return records


def posting_rows(rows: Sequence[JournalRow]) -> list[tuple[Any, ...]]:
    """Return the statement lines of these facts, in the order of `POSTINGS`."""
    return [
        (
            line.account.number,
            row.sequence,
            leg,
            line.phase,
            line.direction,
            line.amount,
            line.pending_change,
            line.after.posted_debits,
            line.after.posted_credits,
            line.after.pending_debits,
            line.after.pending_credits,
            line.after.version,
        )
        for row in rows
        for leg, line in enumerate(getattr(row.fact, "lines", ()))
    ]


def forgotten_row(player_id: str, sequence: int) -> tuple[Any, ...]:
    """Return the row of a player whom a record forgets, in the order of `FORGOTTEN`."""
    return (player_id, sequence, None, None)


def account_row(account: Account) -> tuple[Any, ...]:
    """Return an account's row, in the order of its columns."""
    return (
        account.number,
        account.account_id,
        account.kind,
        account.currency,
        account.state,
        account.limits.min_available,
        account.limits.max_balance,
        account.open_time,
        _metadata_text(account.metadata),
        account.continues or None,
        account.continued_by or None,
    )


def hold_row(hold: Hold, account_numbers: Mapping[str, int]) -> tuple[Any, ...]:
    """Return a hold's row, in the order of its columns; `account_numbers` of the accounts that it names."""
    return (
        hold.number,
        account_numbers[hold.debit_account_id],
        account_numbers[hold.credit_account_id],
        hold.currency,
        hold.amount,
        hold.captured,
        hold.released,
        hold.state,
        hold.expire_time,
        hold.type,
        hold.reference or None,
        _metadata_text(hold.metadata),
        hold.place_time,
        hold.end_time,
        hold.limit_breached,
    )


def listed(columns: Iterable[str], table: str = "") -> str:
    """Return columns as a list for SQL, qualified by a table if one is named."""
    return ", ".join(f"{table}.{name}" if table else name for name in columns)


def _metadata_text(metadata: Mapping[str, str]) -> str | None:
    return json.dumps(dict(metadata)) if metadata else None
