"""Owns JournalService."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import groupby
from typing import Final

from defter.ledger.v1 import journal_pb2

from ledger_server.domain.errors import FieldMalformed, FieldMissing, FieldOutOfRange, ReaderTooSlow
from ledger_server.domain.state.commands import Method, RequestKey
from ledger_server.engine.reads.ledger import Reads
from ledger_server.engine.reads.watch import Watches
from ledger_server.engine.records.entries import entry_bytes
from ledger_server.engine.records.wire_format import length_delimited, number
from ledger_server.engine.verification.verify import verify
from ledger_server.rpc.page_token import page_position, page_size, page_token
from ledger_server.rpc.payment_requests import player_id
from ledger_server.rpc.read_requests import tenant_violations
from ledger_server.rpc.serving import Context
from ledger_server.rpc.violations import Violations
from ledger_server.store.queries.trial_balance import TrialLine

_DEFAULT_HEARTBEAT_SECONDS: Final = 10
_MAX_HEARTBEAT_SECONDS: Final = 300


class JournalServicer:
    """Watches, lists and verifies the journal, and answers questions about its outcomes and sums."""

    def __init__(self, reads: Reads, watches: Watches) -> None:
        self._reads = reads
        self._watches = watches

    async def WatchJournal(
        self, request: journal_pb2.WatchJournalRequest, context: Context
    ) -> AsyncIterator[bytes]:
        """Stream records from a sequence on, without end."""
        violations = tenant_violations(request)
        _after_sequence(violations, request.after_sequence)
        if not 0 <= request.heartbeat_seconds <= _MAX_HEARTBEAT_SECONDS:
            violations.add(FieldOutOfRange(field="heartbeat_seconds"))
        violations.check()
        await self._reads.key_of(request.tenant_id)
        room = self._watches.room()
        room.sequence = request.after_sequence
        # Messages that the reader has not taken stay in memory until the call has ended, even if it was
        # dropped.
        context.add_done_callback(lambda _: room.close())  # type: ignore[arg-type]  # stubs want a protocol
        watch = self._watches.watch(
            request.tenant_id,
            after=request.after_sequence,
            heartbeat_seconds=request.heartbeat_seconds or _DEFAULT_HEARTBEAT_SECONDS,
            bytes_only=request.bytes_only,
            room=room,
        )
        async with aclosing(watch) as responses:
            async for response in responses:
                try:
                    yield response
                except ReaderTooSlow:
                    raise ReaderTooSlow(after_sequence=room.sequence) from None

    async def ListJournal(self, request: journal_pb2.ListJournalRequest, _: Context) -> bytes:
        """List records by sequence."""
        violations = tenant_violations(request)
        _after_sequence(violations, request.after_sequence)
        size = page_size(request, violations)
        position = page_position(request, violations, like=(0,))
        violations.check()
        after = int(position[0]) if position else request.after_sequence
        page = await self._reads.entries(request.tenant_id, after=after, size=size)
        entries = await self._reads.courtesy.slices().made(
            page.items,
            lambda entry: length_delimited(1, entry_bytes(entry, bytes_only=request.bytes_only)),
        )
        if page.next is not None:
            entries.append(length_delimited(2, page_token(request, (page.next,)).encode()))
        entries.append(number(3, page.sequence or 0))
        return b"".join(entries)

    async def VerifyJournal(
        self, request: journal_pb2.VerifyJournalRequest, _: Context
    ) -> AsyncIterator[journal_pb2.VerifyJournalResponse]:
        """Recompute the chain, replay every record, and compare what is stored."""
        tenant_violations(request).check()
        async with aclosing(verify(self._reads.pool, request.tenant_id, self._reads.courtesy)) as events:
            async for event in events:
                if isinstance(event, journal_pb2.VerifyProgress):
                    yield journal_pb2.VerifyJournalResponse(progress=event)
                else:
                    yield journal_pb2.VerifyJournalResponse(result=event)

    async def GetTrialBalance(
        self, request: journal_pb2.GetTrialBalanceRequest, _: Context
    ) -> journal_pb2.GetTrialBalanceResponse:
        """Sum all accounts by currency and kind."""
        tenant_violations(request).check()
        sequence, lines = await self._reads.trial_balance(request.tenant_id)
        return journal_pb2.GetTrialBalanceResponse(
            trial_balances=[
                _trial_balance(currency, list(group))
                for currency, group in groupby(lines, key=lambda line: line.currency)
            ],
            sequence=sequence,
        )

    async def GetOutcome(self, request: journal_pb2.GetOutcomeRequest, _: Context) -> bytes:
        """Answer what became of an idempotency key."""
        violations = tenant_violations(request)
        violations.idempotency_key(request.idempotency_key)
        if request.player_id:
            player_id(violations, request.player_id)
        method = Method.__members__.get(request.method)
        if method is None:
            wrong = FieldMalformed if request.method else FieldMissing
            violations.add(wrong(field="method"))
        violations.check()
        assert method is not None
        key = RequestKey(method, request.idempotency_key, request.player_id)
        entry, newest = await self._reads.outcome(request.tenant_id, key)
        return length_delimited(1, entry_bytes(entry, bytes_only=False)) + number(2, newest)


def _after_sequence(violations: Violations, sequence: int) -> None:
    if sequence < 0:
        violations.add(FieldOutOfRange(field="after_sequence"))


def _trial_balance(currency: str, lines: list[TrialLine]) -> journal_pb2.TrialBalance:
    return journal_pb2.TrialBalance(
        currency_code=currency,
        lines=[
            journal_pb2.TrialBalance.Line(
                kind=int(line.kind),  # type: ignore[arg-type]
                account_count=line.account_count,
                posted_debits_minor=str(line.posted_debits),
                posted_credits_minor=str(line.posted_credits),
                pending_debits_minor=str(line.pending_debits),
                pending_credits_minor=str(line.pending_credits),
            )
            for line in lines
        ],
        posted_debits_minor=str(sum(line.posted_debits for line in lines)),
        posted_credits_minor=str(sum(line.posted_credits for line in lines)),
    )
