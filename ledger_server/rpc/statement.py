"""Owns the message of a statement line."""

from defter.ledger.v1 import account_pb2, journal_pb2

from ledger_server.domain.ids import TenantIds
from ledger_server.engine.records.journal import balance_message
from ledger_server.engine.records.times import timestamp
from ledger_server.store.queries.statements import StatementLine


def line_message(ids: TenantIds, line: StatementLine) -> account_pb2.StatementLine:
    """Return a statement line as callers see it."""
    message = account_pb2.StatementLine(
        sequence=line.position.sequence,
        leg=line.position.leg,
        phase=int(line.phase),  # type: ignore[arg-type]
        direction=int(line.direction),  # type: ignore[arg-type]
        amount_minor=line.amount,
        pending_change_minor=line.pending_change,
        balance=balance_message(line.account_kind, line.after),
        reference=line.reference,
        effective_time=timestamp(line.effective_time),
        record_time=timestamp(line.record_time),
    )
    if line.type is not None:
        message.transaction_id = ids.transaction_id(line.position.sequence)
        message.type = int(line.type)  # type: ignore[assignment]
    elif line.hold_record is not None:
        message.reference = _reference_of_hold(line.hold_record)
    return message


def _reference_of_hold(data: bytes) -> str:
    """Return the caller's reference of the hold that a record changed."""
    record = journal_pb2.JournalRecord.FromString(data)
    name = record.WhichOneof("fact")
    assert name is not None, "every record says something"
    changed = getattr(record, name)
    assert isinstance(changed, journal_pb2.HoldChanged), "only holds write lines without posted money"
    return changed.hold.reference
