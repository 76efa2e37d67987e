"""Owns responses: outcomes become responses, results of items, or refusals."""

from collections.abc import Sequence

from defter.ledger.v1 import error_pb2

from ledger_server.domain.errors import Reason, Recorded, Refused
from ledger_server.engine.lane.work import REJECTED, Outcome, Request
from ledger_server.engine.records.wire_format import boolean, length_delimited
from ledger_server.rpc.callers_ledger import CallersLedger
from ledger_server.rpc.errors import Replayed, mark_replayed
from ledger_server.rpc.guard import ITEM_REFUSED
from ledger_server.rpc.serving import Context, deadline_of


async def decide_one(ledger: CallersLedger, tenant_id: str, request: Request, context: Context) -> bytes:
    """Submit one request and return the serialized fact that was recorded for it, now or before.

    Raises:
        Refused, Replayed: the request was refused, now or before.
    """
    [outcome] = await ledger.submit(tenant_id, [request], deadline=deadline_of(context))
    return settle(outcome, context)


def settle(outcome: Outcome, context: Context) -> bytes:
    """Return the fact of a success, or raise the refusal; mark a replayed outcome."""
    if outcome.rejected:
        refused = refusal_of(outcome)
        raise Replayed(refused) if outcome.replayed else refused
    if outcome.replayed:
        mark_replayed(context)
    return outcome.content


def settle_atomic(outcomes: Sequence[Outcome], context: Context) -> None:
    """Raise the refusal of an ATOMIC batch's refused item with its `index`; mark replayed outcomes."""
    for index, outcome in enumerate(outcomes):
        if not outcome.rejected:
            continue
        refused = refusal_of(outcome)
        if refused.reason is not Reason.BATCH_ABORTED:
            refused.metadata["index"] = str(index)
            raise Replayed(refused) if outcome.replayed else refused
    if all(outcome.replayed for outcome in outcomes):
        mark_replayed(context)


def item_result(idempotency_key: str, outcome: Outcome) -> bytes:
    """Return what became of one item, as the bytes of a `…Result` message.

    PostTransactionResult and OpenAccountResult have the same four fields: the key, the fact, the
    rejection and whether it is replayed.
    """
    if outcome.rejected:
        ITEM_REFUSED.get()(refusal_of(outcome))
    if outcome.kind is REJECTED:
        fact = length_delimited(3, outcome.content)
    elif outcome.refused is not None:
        fact = length_delimited(3, rejection_message(outcome.refused).SerializeToString())
    else:
        fact = length_delimited(2, outcome.content)
    result = length_delimited(1, idempotency_key.encode()) + fact
    return result + boolean(4, value=True) if outcome.replayed else result


def results_message(results: Sequence[bytes]) -> bytes:
    """Return the response that holds these results in its field 1."""
    return b"".join([length_delimited(1, result) for result in results])


def refusal_of(outcome: Outcome) -> Refused:
    """Return why a request was refused."""
    if outcome.refused is not None:
        return outcome.refused
    rejection = error_pb2.Rejection.FromString(outcome.content)
    return Recorded(Reason(rejection.reason), rejection.message, dict(rejection.metadata))


def rejection_message(refused: Refused) -> error_pb2.Rejection:
    """Return a refusal as the message of a batch item."""
    return error_pb2.Rejection(
        reason=int(refused.reason),  # type: ignore[arg-type]
        message=refused.message,
        metadata=refused.metadata,
    )
