"""Owns DepositService."""

from defter.payments.v1 import deposit_pb2

from ledger_server.domain.payments.deposit import DepositState
from ledger_server.engine.reads.ledger import Span
from ledger_server.engine.reads.payments import PaymentReads
from ledger_server.engine.reads.personal import PersonalData
from ledger_server.engine.records.wire_format import length_delimited, number
from ledger_server.rpc.callers_ledger import CallersLedger
from ledger_server.rpc.outcomes import decide_one
from ledger_server.rpc.page_token import number_position, page_bytes, page_size
from ledger_server.rpc.payment_requests import PaymentReader, optional_filters
from ledger_server.rpc.personal import decide_payment
from ledger_server.rpc.read_requests import bound, optional_enum, tenant_violations
from ledger_server.rpc.serving import Context
from ledger_server.store.payment_rows import DEPOSIT
from ledger_server.store.queries.payments import PaymentFilter


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
        """List deposits in the order in which they were begun."""
        violations = tenant_violations(request)
        optional_filters(violations, request)
        state = optional_enum(violations, request.state, "state", DepositState)
        begun = Span(bound(violations, request, "from_time"), bound(violations, request, "to_time"))
        size = page_size(request, violations)
        after = number_position(request, violations)
        violations.check()
        wanted = PaymentFilter(
            kind=DEPOSIT,
            player_id=request.player_id,
            state=state,
            provider=request.provider,
            provider_ref=request.provider_ref,
        )
        page = await self._reads.list_payments(request.tenant_id, wanted, begun, after=after, size=size)
        return page_bytes(request, page)

    async def RefundDeposit(self, request: deposit_pb2.RefundDepositRequest, context: Context) -> bytes:
        """Ask for a refund."""
        item = self._reader.refund_deposit(request)
        return length_delimited(1, await decide_one(self._ledger, request.tenant_id, item, context))
