"""Owns the bytes of settlement batches, there and back."""

from datetime import datetime
from typing import Final

from defter.reconciliation.v1 import settlement_pb2 as pb

from ledger_server.domain.reconciliation.settled import refused_at, state_of
from ledger_server.domain.reconciliation.settlement import SettlementLine, Totals
from ledger_server.domain.state.commands import NamedCaller
from ledger_server.engine.records.journal import caller_message
from ledger_server.engine.records.times import moment_in, timestamp
from ledger_server.store.queries.settlements import StoredSettlementLine
from ledger_server.store.settlement_store import SettlementBatchName, StoredSettlementBatch

_LARGEST: Final = 2**63 - 1


def batch_of(
    provider: str,
    name: SettlementBatchName,
    totals: Totals,
    before: StoredSettlementBatch | None,
    *,
    now: datetime,
) -> StoredSettlementBatch:
    """Return a batch with new totals; what was moved to the bank stays the same.

    Raises:
        ReportMalformed: the batch adds up to more than the ledger can count.
    """
    batch_id, currency = name
    # Each report was checked by itself; several together may still overflow.
    if any(abs(amount) > _LARGEST for amount in _amounts(totals)):
        raise refused_at(1, f"batch {batch_id!r} adds up to more than 64 bits")
    moved = None if before is None else before.moved
    state = state_of(totals, moved)
    message = pb.SettlementBatch(
        batch_id=batch_id,
        provider=provider,
        currency_code=currency,
        state=int(state),  # type: ignore[arg-type]
        gross_minor=totals.gross,
        fee_minor=totals.fee,
        refund_minor=totals.refund,
        chargeback_minor=totals.chargeback,
        correction_minor=totals.correction,
        computed_minor=totals.computed,
        paid_out_minor=totals.paid_out,
        difference_minor=totals.difference,
        line_count=totals.line_count,
        transaction_id="" if before is None else message_of(before).transaction_id,
    )
    if totals.paid_out_time is not None:
        message.paid_out_time.CopyFrom(timestamp(totals.paid_out_time))
    if before is not None and message_of(before).HasField("confirm_caller"):
        message.confirm_caller.CopyFrom(message_of(before).confirm_caller)
    return StoredSettlementBatch(
        batch_id=batch_id,
        currency=currency,
        state=int(state),
        version=1 if before is None else before.version + 1,
        moved=moved,
        open_time=now if before is None else before.open_time,
        body=message.SerializeToString(),
    )


def moved_batch(batch: StoredSettlementBatch, moved: int, transaction_id: str) -> StoredSettlementBatch:
    """Return a batch with what was moved to the bank, and the transaction that moved it, if any."""
    message = message_of(batch)
    state = state_of(totals_of(batch), moved)
    message.state = int(state)  # type: ignore[assignment]
    message.transaction_id = transaction_id
    return batch._replace(
        state=int(state), version=batch.version + 1, moved=moved, body=message.SerializeToString()
    )


def confirmed_batch(batch: StoredSettlementBatch, caller: NamedCaller | None) -> StoredSettlementBatch:
    """Return a batch that was confirmed and paid out nothing, so that no record names who confirmed it."""
    confirmed = moved_batch(batch, 0, "")
    if caller is None:
        return confirmed
    message = message_of(confirmed)
    message.confirm_caller.CopyFrom(caller_message(caller))
    return confirmed._replace(body=message.SerializeToString())


def message_of(batch: StoredSettlementBatch) -> pb.SettlementBatch:
    """Return a batch as callers see it."""
    return pb.SettlementBatch.FromString(batch.body)


def message_of_line(line: StoredSettlementLine) -> pb.SettlementLine:
    """Return a line as callers see it."""
    return pb.SettlementLine(
        line_id=line.line_id,
        line_number=line.line_number,
        kind=line.kind,  # type: ignore[arg-type]  # its numbers are the contract's
        provider_type=line.provider_type,
        batch_id=line.batch_id,
        currency_code=line.currency,
        gross_minor=line.gross,
        fee_minor=line.fee,
        net_minor=line.net,
        is_payout=line.is_payout,
        create_time=timestamp(line.create_time),
    )


def stored_line(line: SettlementLine) -> StoredSettlementLine:
    """Return a line of a file as it would be kept."""
    return StoredSettlementLine(
        line_id=line.line_id,
        line_number=line.line_number,
        kind=int(line.kind),
        provider_type=line.provider_type,
        batch_id=line.batch,
        currency=line.currency,
        gross=line.gross,
        fee=line.fee,
        net=line.net,
        is_payout=line.is_payout,
        create_time=line.create_time,
    )


def totals_of(batch: StoredSettlementBatch) -> Totals:
    """Return the totals of a stored batch."""
    message = message_of(batch)
    return Totals(
        gross=message.gross_minor,
        fee=message.fee_minor,
        refund=message.refund_minor,
        chargeback=message.chargeback_minor,
        correction=message.correction_minor,
        paid_out=message.paid_out_minor if message.HasField("paid_out_minor") else None,
        line_count=message.line_count,
        paid_out_time=moment_in(message, "paid_out_time"),
    )


def _amounts(totals: Totals) -> tuple[int, ...]:
    return (
        totals.gross,
        totals.fee,
        totals.refund,
        totals.chargeback,
        totals.correction,
        totals.computed,
        totals.paid_out or 0,
        totals.difference,
    )
