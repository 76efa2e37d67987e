"""Owns PlayerService."""

from typing import Final

from defter.payments.v1 import payment_pb2, player_pb2

from ledger_server.domain.state.commands import ForgetPlayer, Method
from ledger_server.engine.reads.payments import PaymentReads
from ledger_server.engine.reads.personal import PersonalData
from ledger_server.engine.records.wire_format import length_delimited
from ledger_server.rpc.callers_ledger import CallersLedger
from ledger_server.rpc.outcomes import decide_one
from ledger_server.rpc.payment_requests import player_id, some_text
from ledger_server.rpc.personal import method_of
from ledger_server.rpc.read_requests import tenant_violations
from ledger_server.rpc.requests import MAX_NOTE, ids_of, keyed, keyed_violations
from ledger_server.rpc.serving import Context

_PAYMENT_ID: Final = "payment_id"


class PlayerServicer:
    """Forgets players, and reveals what payments have of them as persons."""

    def __init__(self, ledger: CallersLedger, reads: PaymentReads, personal: PersonalData) -> None:
        self._ledger = ledger
        self._reads = reads
        self._personal = personal

    async def ForgetPlayer(self, request: player_pb2.ForgetPlayerRequest, context: Context) -> bytes:
        """Destroy a player's key."""
        violations = keyed_violations(request)
        player_id(violations, request.player_id)
        some_text(violations, request.reason, "reason", MAX_NOTE)
        violations.check()
        command = ForgetPlayer(player_id=request.player_id, reason=request.reason)
        item = keyed(Method.ForgetPlayer, request, request.idempotency_key, command)
        return length_delimited(1, await decide_one(self._ledger, request.tenant_id, item, context))

    async def RevealPersonalMetadata(
        self, request: player_pb2.RevealPersonalMetadataRequest, _: Context
    ) -> player_pb2.RevealPersonalMetadataResponse:
        """Decrypt what a payment has of a person."""
        violations = tenant_violations(request)
        violations.identifier(request.payment_id, _PAYMENT_ID)
        violations.check()
        payment = await self._payment(request.tenant_id, request.payment_id)
        revealed = await self._personal.revealed(
            request.tenant_id,
            payment.player_id,
            payment.personal_ciphertext,
            method=method_of(payment).name,
        )
        return player_pb2.RevealPersonalMetadataResponse(
            personal_metadata=revealed.metadata, forgotten=revealed.forgotten
        )

    async def _payment(self, tenant_id: str, payment_id: str) -> payment_pb2.Deposit | payment_pb2.Withdrawal:
        if ids_of(tenant_id).withdrawal_sequence(payment_id) is not None:
            found, _ = await self._reads.withdrawal(tenant_id, payment_id)
            return payment_pb2.Withdrawal.FromString(found)
        found, _ = await self._reads.deposit(tenant_id, payment_id)
        return payment_pb2.Deposit.FromString(found)
