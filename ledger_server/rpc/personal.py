"""Owns how new payments with personal data are decided: these are encrypted first, and go no further."""

from defter.payments.v1 import deposit_pb2, payment_pb2, withdrawal_pb2
from msgspec.structs import replace

from ledger_server.domain.errors import IdempotencyKeyReused
from ledger_server.domain.payments.commands import InitiateDeposit, RequestWithdrawal
from ledger_server.domain.state.commands import Method
from ledger_server.domain.state.facts import FactKind
from ledger_server.engine.lane.work import Outcome, Request
from ledger_server.engine.reads.personal import PersonalData
from ledger_server.rpc.callers_ledger import CallersLedger
from ledger_server.rpc.outcomes import settle
from ledger_server.rpc.serving import Context, deadline_of

_NewPayment = deposit_pb2.InitiateDepositRequest | withdrawal_pb2.RequestWithdrawalRequest


def method_of(payment: payment_pb2.Deposit | payment_pb2.Withdrawal) -> Method:
    """Return the method whose request began a payment."""
    return Method.InitiateDeposit if isinstance(payment, payment_pb2.Deposit) else Method.RequestWithdrawal


async def decide_payment(
    ledger: CallersLedger, personal: PersonalData, message: _NewPayment, item: Request, context: Context
) -> bytes:
    """Submit a new payment and return the serialized payment that was recorded for it, now or before.

    Args:
        item: made of the message without its personal data.
    Raises:
        PersonalKeysMissing: the server can't keep personal data, or not this player's.
        IdempotencyKeyReused: an earlier request with the same key had other personal data.
        Refused, Replayed: the request was refused, now or before.
    """
    sealed: bytes | None = b""
    if message.personal_metadata:
        command = item.command
        assert isinstance(command, InitiateDeposit | RequestWithdrawal)
        assert item.key is not None
        sealed = await personal.sealed(
            message.tenant_id,
            message.player_id,
            message.personal_metadata,
            method=item.key.method.name,
            idempotency_key=message.idempotency_key,
        )
        # A retry is answered as before although the player is forgotten, so the lane is asked in any case.
        command = replace(command, personal=sealed or b"", forgotten=sealed is None)
        item = replace(item, command=command, size=item.size + len(sealed or b""))
    [outcome] = await ledger.submit(message.tenant_id, [item], deadline=deadline_of(context))
    # Also one that leaves out what was told before; of a forgotten player nobody can compare any more.
    if sealed is not None and outcome.replayed and _recorded(outcome) not in (None, sealed):
        raise IdempotencyKeyReused(
            idempotency_key=message.idempotency_key, method=item.key.method.name if item.key else ""
        )
    return settle(outcome, context)


def _recorded(outcome: Outcome) -> bytes | None:
    """Return what was recorded of a person; None where the payment was refused."""
    if outcome.kind is FactKind.DEPOSIT_CHANGED:
        return payment_pb2.Deposit.FromString(outcome.content).personal_ciphertext
    if outcome.kind is FactKind.WITHDRAWAL_CHANGED:
        return payment_pb2.Withdrawal.FromString(outcome.content).personal_ciphertext
    return None
