"""Owns WithdrawalService."""

from defter.payments.v1 import withdrawal_pb2

from ledger_server.domain.payments.withdrawal import WithdrawalState
from ledger_server.engine.lane.work import Request
from ledger_server.engine.reads.ledger import Reads, Span
from ledger_server.engine.reads.payments import PaymentReads
from ledger_server.engine.reads.personal import PersonalData
from ledger_server.engine.records.times import timestamp
from ledger_server.engine.records.wire_format import length_delimited, number
from ledger_server.engine.records.withdrawals import policy_message
from ledger_server.rpc.callers_ledger import CallersLedger
from ledger_server.rpc.outcomes import decide_one
from ledger_server.rpc.page_token import number_position, page_bytes, page_size
from ledger_server.rpc.payment_lists import ended_span, wanted_payments
from ledger_server.rpc.payment_requests import (
    PaymentReader,
    add_withdrawal_note,
    approve_withdrawal,
    cancel_withdrawal,
    claim_withdrawal,
    mark_withdrawal_paid,
    reject_withdrawal,
)
from ledger_server.rpc.personal import decide_payment
from ledger_server.rpc.read_requests import bound, tenant_violations
from ledger_server.rpc.serving import Context
from ledger_server.store.payment_rows import WITHDRAWAL


class WithdrawalServicer:
    """Takes withdrawals through review; the recorded message is field 1 of each response."""

    def __init__(
        self,
        ledger: CallersLedger,
        reader: PaymentReader,
        reads: Reads,
        payment_reads: PaymentReads,
        personal: PersonalData,
    ) -> None:
        self._ledger = ledger
        self._personal = personal
        self._reader = reader
        self._reads = reads
        self._payment_reads = payment_reads

    async def RequestWithdrawal(
        self, request: withdrawal_pb2.RequestWithdrawalRequest, context: Context
    ) -> bytes:
        """Hold money that is to go out."""
        item = self._reader.request_withdrawal(request)
        return length_delimited(1, await decide_payment(self._ledger, self._personal, request, item, context))

    async def ApproveWithdrawal(
        self, request: withdrawal_pb2.ApproveWithdrawalRequest, context: Context
    ) -> bytes:
        """Let it pass."""
        return await self._decide(request.tenant_id, approve_withdrawal(request), context)

    async def RejectWithdrawal(
        self, request: withdrawal_pb2.RejectWithdrawalRequest, context: Context
    ) -> bytes:
        """Refuse it."""
        return await self._decide(request.tenant_id, reject_withdrawal(request), context)

    async def CancelWithdrawal(
        self, request: withdrawal_pb2.CancelWithdrawalRequest, context: Context
    ) -> bytes:
        """Take it back for the player."""
        return await self._decide(request.tenant_id, cancel_withdrawal(request), context)

    async def MarkWithdrawalPaid(
        self, request: withdrawal_pb2.MarkWithdrawalPaidRequest, context: Context
    ) -> bytes:
        """Record by hand that the provider has paid."""
        return await self._decide(request.tenant_id, mark_withdrawal_paid(request), context)

    async def ClaimWithdrawal(
        self, request: withdrawal_pb2.ClaimWithdrawalRequest, context: Context
    ) -> bytes:
        """Say who works on it."""
        return await self._decide(request.tenant_id, claim_withdrawal(request), context)

    async def AddWithdrawalNote(
        self, request: withdrawal_pb2.AddWithdrawalNoteRequest, context: Context
    ) -> bytes:
        """Add a note to it."""
        return await self._decide(request.tenant_id, add_withdrawal_note(request), context)

    async def GetWithdrawal(self, request: withdrawal_pb2.GetWithdrawalRequest, _: Context) -> bytes:
        """Read one withdrawal."""
        violations = tenant_violations(request)
        violations.identifier(request.withdrawal_id, "withdrawal_id")
        violations.check()
        found, newest = await self._payment_reads.withdrawal(request.tenant_id, request.withdrawal_id)
        return length_delimited(1, found) + number(2, newest)

    async def ListWithdrawals(self, request: withdrawal_pb2.ListWithdrawalsRequest, _: Context) -> bytes:
        """List withdrawals in the order in which they were asked for, or the newest first."""
        violations = tenant_violations(request)
        wanted = wanted_payments(violations, request, WITHDRAWAL, WithdrawalState)
        begun = Span(bound(violations, request, "from_time"), bound(violations, request, "to_time"))
        size = page_size(request, violations)
        after = number_position(request, violations)
        violations.check()
        page = await self._payment_reads.list_payments(
            request.tenant_id, wanted, begun, after=after, size=size
        )
        return page_bytes(request, page)

    async def CountWithdrawals(
        self, request: withdrawal_pb2.CountWithdrawalsRequest, _: Context
    ) -> withdrawal_pb2.CountWithdrawalsResponse:
        """Count withdrawals by state, currency and provider account."""
        violations = tenant_violations(request)
        ended = ended_span(violations, request)
        violations.check()
        found, newest = await self._payment_reads.count_payments(
            request.tenant_id, WITHDRAWAL, WithdrawalState, ended
        )
        response = withdrawal_pb2.CountWithdrawalsResponse(sequence=newest)
        for each in found:
            response.counts.add(
                state=each.state,
                currency_code=each.currency,
                provider=each.provider,
                count=each.payments,
                amount_minor=each.amount,
                oldest_time=timestamp(each.oldest_time),
                at_least=each.at_least,
            )
        return response

    async def SetWithdrawalPolicy(
        self, request: withdrawal_pb2.SetWithdrawalPolicyRequest, context: Context
    ) -> bytes:
        """Replace what the tenant demands of withdrawals."""
        return await self._decide(request.tenant_id, self._reader.set_policy(request), context)

    async def GetWithdrawalPolicy(
        self, request: withdrawal_pb2.GetWithdrawalPolicyRequest, _: Context
    ) -> withdrawal_pb2.GetWithdrawalPolicyResponse:
        """Read what the tenant demands of withdrawals."""
        tenant_violations(request).check()
        head = await self._reads.tenant(request.tenant_id)
        return withdrawal_pb2.GetWithdrawalPolicyResponse(
            policy=policy_message(head.policy), sequence=head.sequence
        )

    async def _decide(self, tenant_id: str, item: Request, context: Context) -> bytes:
        return length_delimited(1, await decide_one(self._ledger, tenant_id, item, context))
