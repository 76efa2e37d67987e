"""Owns the way back: how outcomes become responses, results of items and refusals."""

from collections.abc import Sequence

from defter.ledger.v1 import error_pb2, journal_pb2, posting_pb2

from ledger_server.domain.errors import Reason, Recorded, Refused
from ledger_server.engine.ledger import Ledger
from ledger_server.engine.work import Outcome, Request
from ledger_server.rpc.errors import REPLAYED, Replayed
from ledger_server.rpc.serving import Context, deadline_of


async def decide_one(
    ledger: Ledger, tenant_id: str, request: Request, context: Context
) -> journal_pb2.JournalRecord:
    """Submit one request and return its record, new or replayed.

    Raises:
        Refused, Replayed: the request was refused, now or before.
    """
    [outcome] = await ledger.submit(tenant_id, [request], deadline=deadline_of(context))
    return settle(outcome, context)


def settle(outcome: Outcome, context: Context) -> journal_pb2.JournalRecord:
    """Return the record of a success, or raise the refusal; mark what is replayed."""
    record = outcome.record
    if record is None:
        raise _undecided(outcome)
    if record.HasField("request_rejected"):
        refused = recorded(record.request_rejected)
        if outcome.replayed:
            raise Replayed(refused)
        raise refused
    if outcome.replayed:
        context.set_trailing_metadata((REPLAYED,))
    return record


def settle_atomic(outcomes: Sequence[Outcome], context: Context) -> list[journal_pb2.JournalRecord]:
    """Return the records of an ATOMIC batch, or raise the refusal of its refused item with `index`."""
    for index, outcome in enumerate(outcomes):
        rejection = rejection_of(outcome)
        if rejection is None or rejection.reason == error_pb2.ERROR_REASON_BATCH_ABORTED:
            continue
        rejection.metadata["index"] = str(index)
        refused = recorded(rejection)
        raise Replayed(refused) if outcome.replayed else refused
    if outcomes and all(outcome.replayed for outcome in outcomes):
        context.set_trailing_metadata((REPLAYED,))
    return [outcome.record for outcome in outcomes if outcome.record is not None]


def post_result(idempotency_key: str, outcome: Outcome) -> posting_pb2.PostTransactionResult:
    """Return what became of one item of a batch or a stream."""
    record = outcome.record
    if record is not None and record.HasField("transaction_posted"):
        return posting_pb2.PostTransactionResult(
            idempotency_key=idempotency_key,
            transaction=record.transaction_posted,
            replayed=outcome.replayed,
        )
    return posting_pb2.PostTransactionResult(
        idempotency_key=idempotency_key,
        rejection=rejection_of(outcome),
        replayed=outcome.replayed,
    )


def rejection_of(outcome: Outcome) -> error_pb2.Rejection | None:
    """Return a copy of why an item was refused, or None where it succeeded."""
    record = outcome.record
    if record is None:
        return rejection_message(_undecided(outcome))
    if not record.HasField("request_rejected"):
        return None
    rejection = error_pb2.Rejection()
    rejection.CopyFrom(record.request_rejected)
    return rejection


def rejection_message(refused: Refused) -> error_pb2.Rejection:
    """Return a refusal as the message of a batch item."""
    return error_pb2.Rejection(
        reason=int(refused.reason),  # type: ignore[arg-type]
        message=refused.message,
        metadata=refused.metadata,
    )


def recorded(rejection: error_pb2.Rejection) -> Recorded:
    """Return a recorded refusal as an error."""
    return Recorded(Reason(rejection.reason), rejection.message, dict(rejection.metadata))


def _undecided(outcome: Outcome) -> Refused:
    assert outcome.refused is not None, "only internal work ends without a record and a refusal"
    return outcome.refused
