"""Owns DepositService."""

from defter.payments.v1 import deposit_pb2

from ledger_server.domain.payments.deposit import DepositState
from ledger_server.engine.reads.ledger import Span
from ledger_server.engine.reads.payments import PaymentReads
from ledger_server.engine.reads.personal import PersonalData
from ledger_server.engine.records.times import timestamp
from ledger_server.engine.records.wire_format import length_delimited, number
from ledger_server.rpc.callers_ledger import CallersLedger
from ledger_server.rpc.outcomes import decide_one
from ledger_server.rpc.page_token import number_position, page_bytes, page_size
from ledger_server.rpc.payment_lists import ended_span, wanted_payments
from ledger_server.rpc.payment_requests import PaymentReader
from ledger_server.rpc.personal import decide_payment
from ledger_server.rpc.read_requests import bound, tenant_violations
from ledger_server.rpc.serving import Context
from ledger_server.store.payment_rows import DEPOSIT


class DepositServicer:
    """Takes deposits on, refunds them and reads them; their recorded message is field 1 of each response."""

    def __init__(
        self, ledger: CallersLedger, reader: PaymentReader, reads: PaymentReads, personal: PersonalData
    ) -> None:
        self._ledger = ledger
        self._personal = personal
        self._reader = reader
        self._reads = reads

    async def InitiateDeposit(self, request: deposit_pb2.InitiateDepositRequest, context: Context) -> bytes:
        """Begin a deposit."""
        item = self._reader.initiate_deposit(request)
        return length_delimited(1, await decide_payment(self._ledger, self._personal, request, item, context))

    async def GetDeposit(self, request: deposit_pb2.GetDepositRequest, _: Context) -> bytes:
        """Read one deposit."""
        violations = tenant_violations(request)
        violations.identifier(request.deposit_id, "deposit_id")
        violations.check()
        found, newest = await self._reads.deposit(request.tenant_id, request.deposit_id)
        return length_delimited(1, found) + number(2, newest)

    async def ListDeposits(self, request: deposit_pb2.ListDepositsRequest, _: Context) -> bytes:
        """List deposits in the order in which they were begun, or the newest first."""
        violations = tenant_violations(request)
        wanted = wanted_payments(violations, request, DEPOSIT, DepositState)
        begun = Span(bound(violations, request, "from_time"), bound(violations, request, "to_time"))
        size = page_size(request, violations)
        after = number_position(request, violations)
        violations.check()
        page = await self._reads.list_payments(request.tenant_id, wanted, begun, after=after, size=size)
        return page_bytes(request, page)

    async def CountDeposits(
        self, request: deposit_pb2.CountDepositsRequest, _: Context
    ) -> deposit_pb2.CountDepositsResponse:
        """Count deposits by state, currency and provider account."""
        violations = tenant_violations(request)
        ended = ended_span(violations, request)
        violations.check()
        found, newest = await self._reads.count_payments(request.tenant_id, DEPOSIT, DepositState, ended)
        response = deposit_pb2.CountDepositsResponse(sequence=newest)
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

    async def RefundDeposit(self, request: deposit_pb2.RefundDepositRequest, context: Context) -> bytes:
        """Ask for a refund."""
        item = self._reader.refund_deposit(request)
        return length_delimited(1, await decide_one(self._ledger, request.tenant_id, item, context))
