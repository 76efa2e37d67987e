"""Owns the comparison with the journal of what changes: payments, events, findings, adjustments, players."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from defter.ledger.v1 import journal_pb2
from google.protobuf.message import DecodeError
from msgspec.structs import replace

from ledger_server.domain.ids import TenantIds, TenantKey, finding_id
from ledger_server.domain.payments.calls import CallKind, OwedCall
from ledger_server.domain.payments.knowledge import CallState
from ledger_server.domain.payments.names import names_of
from ledger_server.domain.state.facts import DepositChanged, EventRecorded, WithdrawalChanged
from ledger_server.engine.records.adjustments import adjustment_of
from ledger_server.engine.records.findings import finding_of
from ledger_server.engine.records.journal import content_of
from ledger_server.engine.records.payments import payment_fact, payment_of
from ledger_server.engine.records.times import moment
from ledger_server.engine.verification.differences import (
    ABSENT,
    PRESENT,
    Different,
    rows_that_differ,
    text_of,
)
from ledger_server.engine.verification.journal import JournalCheck
from ledger_server.store.adjustment_rows import ADJUSTMENT_TABLES, adjustment_row
from ledger_server.store.database import AnyConnection
from ledger_server.store.finding_rows import FINDING_TABLES, finding_row
from ledger_server.store.payment_rows import PAYMENT_TABLES, PaymentRows
from ledger_server.store.queries import verification
from ledger_server.store.queries.verification import ChangedRow, StoredRef

_BREATH: Final = 64
_IN_MOTION: Final = frozenset({CallState.PENDING, CallState.UNDER_WAY})
_CHANGES_PAYMENT: Final = frozenset({"deposit_changed", "withdrawal_changed"})
_COLUMNS: Final = {**PAYMENT_TABLES, **FINDING_TABLES, **ADJUSTMENT_TABLES}


async def check_rows(connection: AnyConnection, key: TenantKey, check: JournalCheck) -> list[Different]:
    """Return how the rows of changing things differ from what follows from the journal."""
    replay = check.replay
    findings = {fingerprint: sequence for fingerprint, (sequence, _) in replay.findings.items()}
    in_motion: dict[OwedCall, int] = {}
    payments, payment_count = await _table(
        connection, key, check.ids, "payments", replay.payments, in_motion=in_motion
    )
    events, event_count = await _table(connection, key, check.ids, "provider_events", replay.events)
    found, finding_count = await _table(connection, key, check.ids, "reconciliation_findings", findings)
    adjustments, adjustment_count = await _table(
        connection, key, check.ids, "adjustments", replay.adjustments
    )
    check.payment_count, check.event_count = payment_count, event_count
    check.finding_count, check.adjustment_count = finding_count, adjustment_count
    return [
        *payments,
        *events,
        *found,
        *adjustments,
        *await _history(connection, key, check),
        *await _refs(connection, key, check.ids),
        *await _calls(connection, key, check.ids, in_motion),
        *await _forgotten(connection, key, check),
    ]


async def _forgotten(connection: AnyConnection, key: TenantKey, check: JournalCheck) -> list[Different]:
    """Return forgotten players whose key is still there, and those that no record forgot."""
    missing = dict(check.replay.forgotten)
    found: list[Different] = []
    count = 0
    async for player_id, forgotten_by, has_key in verification.known_players(connection, key):
        expected = missing.pop(player_id, None)
        subject = f"player_keys {player_id}"
        if expected is not None and has_key:
            found.append(Different(expected, f"{subject} sealed_key", ABSENT, PRESENT))
        elif expected != forgotten_by:
            at = expected or forgotten_by or 0
            found.append(Different(at, f"{subject} forgotten_by", expected, forgotten_by))
        count += 1
        if count % _BREATH == 0:
            await asyncio.sleep(0)
    return found + [Different(at, f"player_keys {name}", PRESENT, ABSENT) for name, at in missing.items()]


async def _refs(connection: AnyConnection, key: TenantKey, ids: TenantIds) -> list[Different]:
    """Return refs that lead to a payment without that ref, and payments whose ref leads nowhere.

    If two payments have the same ref, the first keeps it, so a payment's ref may lead to another payment.
    """
    found: list[Different] = []
    count = 0
    async for row in verification.refs(connection, key):
        if not _has_ref(ids, row):
            subject = f"payment_refs {row.provider} {row.provider_ref}"
            found.append(Different(row.changed_by or row.payment, subject, ABSENT, PRESENT))
        count += 1
        if count % _BREATH == 0:
            await asyncio.sleep(0)
    lost = await verification.payment_without_ref(connection, key)
    if lost is not None:
        number, changed_by = lost
        found.append(Different(changed_by, f"payment_refs of payment {number}", PRESENT, ABSENT))
    return found


def _has_ref(ids: TenantIds, row: StoredRef) -> bool:
    if row.kind is None or row.body is None:
        return False
    try:
        payment = payment_of(ids, row.kind, row.body)
    except (DecodeError, ValueError, OverflowError):
        return False  # the payment's own row is named as well
    return payment.provider == row.provider and row.provider_ref in names_of(payment)


async def _calls(
    connection: AnyConnection, key: TenantKey, ids: TenantIds, in_motion: Mapping[OwedCall, int]
) -> list[Different]:
    """Return owed calls that no record can have asked for, and calls in motion that no row has."""
    missing = dict(in_motion)
    found: list[Different] = []
    count = 0
    async for call in verification.owed_calls(connection, key):
        if call.owed not in _may_owe(ids, call.record):
            found.append(Different(call.number, f"outbox {call.number}", ABSENT, PRESENT))
        missing.pop(call.owed, None)
        count += 1
        if count % _BREATH == 0:
            await asyncio.sleep(0)
    return found + [
        Different(at, f"outbox of payment {owed.payment}", PRESENT, ABSENT) for owed, at in missing.items()
    ]


def _may_owe(ids: TenantIds, data: bytes | None) -> list[OwedCall]:
    """Return the calls that a record may have asked for: for its payment, or for one of the refunds."""
    return [call for call, _ in _calls_of(ids, data)]


def _calls_in_motion(ids: TenantIds, data: bytes | None) -> list[OwedCall]:
    """Return the calls that are to be made, or are under way, as of a payment's newest record."""
    return [call for call, state in _calls_of(ids, data) if state in _IN_MOTION]


def _calls_of(ids: TenantIds, data: bytes | None) -> list[tuple[OwedCall, CallState]]:
    """Return the calls of the payment in a record, and how far each has come."""
    if data is None:
        return []
    record = journal_pb2.JournalRecord.FromString(data)
    name = record.WhichOneof("fact") or ""
    if name not in _CHANGES_PAYMENT:
        return []
    match payment_fact(ids, name, record):
        case DepositChanged(deposit=payment):
            kind = CallKind.CREATE_PAYMENT
            refunds = payment.refunds
        case WithdrawalChanged(withdrawal=payment):
            kind = CallKind.CREATE_PAYOUT
            refunds = ()
        case _:
            return []
    own = OwedCall(kind=kind, provider=payment.provider, payment=payment.number, subject=payment.number)
    return [
        (own, payment.call_state),
        *(
            (replace(own, kind=CallKind.REFUND, subject=refund.number), refund.call_state)
            for refund in refunds
            if refund.number is not None
        ),
    ]


async def _history(connection: AnyConnection, key: TenantKey, check: JournalCheck) -> list[Different]:
    """Return how the stored history of findings differs from the journal, which has each version once."""
    found: list[Different] = []
    counts: Counter[bytes] = Counter()
    seen = 0
    async for row in verification.finding_versions(connection, key):
        if _is_version(row.record, row.fingerprint, row.version):
            counts[row.fingerprint] += 1
        else:
            subject = f"finding_versions {text_of(row.fingerprint)} version {row.version}"
            found.append(Different(row.sequence, subject, ABSENT, PRESENT))
        seen += 1
        if seen % _BREATH == 0:
            await asyncio.sleep(0)
    for fingerprint, (sequence, version) in check.replay.findings.items():
        if counts[fingerprint] != version:
            subject = f"finding_versions {text_of(fingerprint)} count"
            found.append(Different(sequence, subject, version, counts[fingerprint]))
    return found


def _is_version(data: bytes | None, fingerprint: bytes, version: int) -> bool:
    """Return whether a record made that version of that finding."""
    if data is None:
        return False
    record = journal_pb2.JournalRecord.FromString(data)
    changed = record.finding_changed
    return record.HasField("finding_changed") and (changed.finding_id, changed.version) == (
        finding_id(fingerprint),
        version,
    )


async def _table(
    connection: AnyConnection,
    key: TenantKey,
    ids: TenantIds,
    table: str,
    expected: Mapping[Any, int],
    *,
    in_motion: dict[OwedCall, int] | None = None,
) -> tuple[list[Different], int]:
    """Return what differs in a table, and how many rows it has; collect calls in motion, of payments."""
    found: list[Different] = []
    missing = dict(expected)
    count = 0
    async for row in verification.changed_rows(connection, key, table):
        number = row.values[0]
        changed_by = missing.pop(number, None)
        subject = f"{table} {text_of(number)}"
        if changed_by is None:
            found.append(Different(row.changed_by, subject, ABSENT, PRESENT))
        elif changed_by != row.changed_by:
            found.append(Different(changed_by, f"{subject} changed_by", changed_by, row.changed_by))
        else:
            found += _differences(ids, table, subject, row)
            if in_motion is not None:
                for call in _calls_in_motion(ids, row.record):
                    in_motion[call] = changed_by
        count += 1
        if count % _BREATH == 0:
            await asyncio.sleep(0)
    found += [Different(at, f"{table} {text_of(number)}", PRESENT, ABSENT) for number, at in missing.items()]
    return found, count


def _differences(ids: TenantIds, table: str, subject: str, row: ChangedRow) -> list[Different]:
    """Compare a row with the row that follows from its newest record."""
    sequence = row.changed_by
    columns = tuple(_COLUMNS[table])
    made = _made(ids, table, row)
    if made is None:
        return [Different(sequence, f"{subject} record", PRESENT, ABSENT)]
    if table == "payments" and row.values[columns.index("reference")] is None:
        # A version from before has written the row.
        made = tuple(
            None if name == "reference" else value for name, value in zip(columns, made, strict=True)
        )
    if made == row.values:
        return []
    differing = rows_that_differ(columns, made, row.values)
    return [Different(sequence, f"{subject} {differing.path}", differing.expected, differing.actual)]


def _made(ids: TenantIds, table: str, row: ChangedRow) -> tuple[Any, ...] | None:
    if row.record is None:
        return None
    record = journal_pb2.JournalRecord.FromString(row.record)
    if table == "reconciliation_findings":
        finding = finding_of(ids, record.finding_changed)
        return finding_row(finding, record.sequence, content_of(record)[1])
    if table == "adjustments":
        adjustment = adjustment_of(ids, record.adjustment_changed)
        return adjustment_row(adjustment, record.sequence, content_of(record)[1])
    fact = payment_fact(ids, record.WhichOneof("fact") or "", record)
    if isinstance(fact, EventRecorded):
        # The payload is in the row alone; the journal has its digest.
        payload = row.payload or b""
        if hashlib.sha256(payload).digest() != fact.stored.payload_digest:
            payload = b""
        event = replace(fact.stored.event, payload=payload)
        fact = EventRecorded(fact.kind, replace(fact.stored, event=event), discrepancies=(), mended=())
    rows = PaymentRows()
    rows.add(fact, record.sequence, moment(record.record_time), content_of(record)[1])
    return next(iter(rows.tables[table]), None)
