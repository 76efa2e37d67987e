"""Owns HoldService."""

from defter.ledger.v1 import hold_pb2, journal_pb2

from ledger_server.domain.ledger.holds import HoldState
from ledger_server.domain.state.commands import ExtendHold, IncreaseHold, Method, ReleaseHold
from ledger_server.engine.reads.ledger import Reads
from ledger_server.engine.records.journal import hold_message
from ledger_server.rpc.callers_ledger import CallersLedger
from ledger_server.rpc.outcomes import decide_one
from ledger_server.rpc.page_token import fitting, page_position, page_size, page_token
from ledger_server.rpc.read_requests import bound, optional_account_id, optional_enum, tenant_violations
from ledger_server.rpc.requests import RequestReader, hold_number, hold_violations, keyed
from ledger_server.rpc.serving import Context
from ledger_server.store.queries.holds import HoldFilter


class HoldServicer:
    """Reserves money and turns the reservation into a transaction, or undoes it."""

    def __init__(self, ledger: CallersLedger, reader: RequestReader, reads: Reads) -> None:
        self._ledger = ledger
        self._reader = reader
        self._reads = reads

    async def PlaceHold(
        self, request: hold_pb2.PlaceHoldRequest, context: Context
    ) -> hold_pb2.PlaceHoldResponse:
        """Reserve money from one account for another."""
        item = self._reader.place_hold(request)
        fact = await decide_one(self._ledger, request.tenant_id, item, context)
        placed = journal_pb2.HoldChanged.FromString(fact)
        return hold_pb2.PlaceHoldResponse(
            hold=placed.hold,
            debit_balance=placed.debit_balance,
            credit_balance=placed.credit_balance,
        )

    async def CaptureHold(
        self, request: hold_pb2.CaptureHoldRequest, context: Context
    ) -> hold_pb2.CaptureHoldResponse:
        """Post all or part of what is held."""
        item = self._reader.capture_hold(request)
        fact = await decide_one(self._ledger, request.tenant_id, item, context)
        captured = journal_pb2.HoldCaptured.FromString(fact)
        return hold_pb2.CaptureHoldResponse(hold=captured.hold, transaction=captured.transaction)

    async def ReleaseHold(
        self, request: hold_pb2.ReleaseHoldRequest, context: Context
    ) -> hold_pb2.ReleaseHoldResponse:
        """Undo what is still held."""
        hold_violations(request).check()
        command = ReleaseHold(hold_id=request.hold_id, number=hold_number(request))
        item = keyed(Method.ReleaseHold, request, request.idempotency_key, command)
        fact = await decide_one(self._ledger, request.tenant_id, item, context)
        released = journal_pb2.HoldChanged.FromString(fact)
        return hold_pb2.ReleaseHoldResponse(
            hold=released.hold,
            debit_balance=released.debit_balance,
            credit_balance=released.credit_balance,
        )

    async def ExtendHold(
        self, request: hold_pb2.ExtendHoldRequest, context: Context
    ) -> hold_pb2.ExtendHoldResponse:
        """Move the expire time to a later one."""
        violations = hold_violations(request)
        expire_time = violations.expiry(request, required=True)
        violations.check()
        assert expire_time is not None
        command = ExtendHold(hold_id=request.hold_id, number=hold_number(request), expire_time=expire_time)
        item = keyed(Method.ExtendHold, request, request.idempotency_key, command)
        fact = await decide_one(self._ledger, request.tenant_id, item, context)
        extended = journal_pb2.HoldChanged.FromString(fact)
        return hold_pb2.ExtendHoldResponse(hold=extended.hold)

    async def IncreaseHold(
        self, request: hold_pb2.IncreaseHoldRequest, context: Context
    ) -> hold_pb2.IncreaseHoldResponse:
        """Hold more."""
        violations = hold_violations(request)
        violations.amount(request.additional_minor, "additional_minor")
        violations.check()
        command = IncreaseHold(
            hold_id=request.hold_id,
            number=hold_number(request),
            additional=request.additional_minor,
            bounds=self._reader.bounds,
        )
        item = keyed(Method.IncreaseHold, request, request.idempotency_key, command)
        fact = await decide_one(self._ledger, request.tenant_id, item, context)
        increased = journal_pb2.HoldChanged.FromString(fact)
        return hold_pb2.IncreaseHoldResponse(
            hold=increased.hold,
            debit_balance=increased.debit_balance,
            credit_balance=increased.credit_balance,
        )

    async def GetHold(self, request: hold_pb2.GetHoldRequest, _: Context) -> hold_pb2.GetHoldResponse:
        """Read one hold."""
        violations = tenant_violations(request)
        violations.identifier(request.hold_id, "hold_id")
        violations.check()
        hold, newest = await self._reads.hold(request.tenant_id, request.hold_id)
        ids = await self._reads.ids(request.tenant_id)
        return hold_pb2.GetHoldResponse(hold=hold_message(ids, hold), sequence=newest)

    async def ListHolds(self, request: hold_pb2.ListHoldsRequest, _: Context) -> hold_pb2.ListHoldsResponse:
        """List holds in the order in which they were placed."""
        violations = tenant_violations(request)
        wanted = HoldFilter(
            account_id=optional_account_id(violations, request.account_id, "account_id"),
            state=optional_enum(violations, request.state, "state", HoldState),
            expire_before=bound(violations, request, "expire_before_time"),
            only_limit_breached=request.only_limit_breached,
        )
        size = page_size(request, violations)
        position = page_position(request, violations, like=(0,))
        violations.check()
        page = await self._reads.list_holds(
            request.tenant_id,
            wanted,
            position=int(position[0]) if position else None,
            newest_first=request.newest_first,
            size=size,
        )
        ids = await self._reads.ids(request.tenant_id)
        holds = await self._reads.courtesy.slices().made(page.items, lambda hold: hold_message(ids, hold))
        count = fitting(holds)
        behind = page.next if count == len(holds) else page.items[count - 1].number
        return hold_pb2.ListHoldsResponse(
            holds=holds[:count],
            next_page_token="" if behind is None else page_token(request, (behind,)),
            sequence=page.sequence or 0,
        )
