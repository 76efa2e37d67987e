"""Owns PostingService."""

from collections.abc import AsyncIterator

from defter.ledger.v1 import journal_pb2, posting_pb2

from ledger_server.domain.ledger.transactions import TransactionType
from ledger_server.engine.reads.ledger import Reads
from ledger_server.engine.records.journal import transaction_of
from ledger_server.engine.records.wire_format import length_delimited
from ledger_server.rpc.callers_ledger import CallersLedger
from ledger_server.rpc.outcomes import decide_one, item_result, results_message, settle_atomic
from ledger_server.rpc.page_token import page_position, page_size, page_token
from ledger_server.rpc.read_requests import optional_account_id, optional_enum, span, tenant_violations
from ledger_server.rpc.requests import (
    MAX_REFERENCE,
    RequestReader,
    batch_mode,
    check_answer_size,
    check_batch_size,
    check_tenant,
)
from ledger_server.rpc.serving import Context, deadline_of
from ledger_server.rpc.shares import SIZE
from ledger_server.rpc.transaction_stream import Streams, TransactionStream
from ledger_server.store.queries.transactions import PostedRecord, TransactionFilter


class PostingServicer:
    """Posts and reads transactions."""

    def __init__(self, ledger: CallersLedger, reader: RequestReader, reads: Reads, streams: Streams) -> None:
        self._ledger = ledger
        self._reader = reader
        self._reads = reads
        self._streams = streams

    async def PostTransaction(self, request: posting_pb2.PostTransactionRequest, context: Context) -> bytes:
        """Post one transaction."""
        check_tenant(request.tenant_id)
        item = self._reader.post_item(request.idempotency_key, request.transaction)
        fact = await decide_one(self._ledger, request.tenant_id, item, context)
        # The recorded transaction as it stands is field 1 of the response.
        return length_delimited(1, fact)

    async def BatchPostTransactions(
        self, request: posting_pb2.BatchPostTransactionsRequest, context: Context
    ) -> bytes:
        """Post up to 1,000 transactions in one commit."""
        check_tenant(request.tenant_id)
        atomic = batch_mode(request.mode)
        check_batch_size(len(request.items))
        postings = (len(item.transaction.postings) for item in request.items)
        check_answer_size(items=len(request.items), postings=postings)
        self._ledger.check_room(request.tenant_id, SIZE.get())
        read = self._reader.post_item
        # A large batch gives all others one turn after each slice.
        slices = self._reads.courtesy.slices(rest=0)
        items = await slices.made(
            enumerate(request.items),
            lambda each: read(each[1].idempotency_key, each[1].transaction, f"items[{each[0]}]."),
        )
        outcomes = await self._ledger.submit(
            request.tenant_id, items, atomic=atomic, deadline=deadline_of(context)
        )
        if atomic:
            settle_atomic(outcomes, context)
        return results_message(
            await slices.made(
                zip(request.items, outcomes, strict=True),
                lambda each: item_result(each[0].idempotency_key, each[1]),
            )
        )

    async def StreamTransactions(
        self, requests: AsyncIterator[posting_pb2.StreamTransactionsRequest], context: Context
    ) -> AsyncIterator[bytes]:
        """Post transactions as fast as they come."""
        stream = TransactionStream(
            self._ledger,
            self._reader,
            self._streams.budget,
            self._streams.gate,
            deadline=deadline_of(context),
        )
        with self._streams.open(stream):
            async for response in stream.run(requests):
                yield response

    async def GetTransaction(
        self, request: posting_pb2.GetTransactionRequest, _: Context
    ) -> posting_pb2.GetTransactionResponse:
        """Read one transaction."""
        violations = tenant_violations(request)
        violations.identifier(request.transaction_id, "transaction_id")
        violations.check()
        posted, newest = await self._reads.transaction(request.tenant_id, request.transaction_id)
        reversed_by = ""
        if posted.reversed_by is not None:
            ids = await self._reads.ids(request.tenant_id)
            reversed_by = ids.transaction_id(posted.reversed_by)
        return posting_pb2.GetTransactionResponse(
            transaction=_transaction(posted), reversed_by_transaction_id=reversed_by, sequence=newest
        )

    async def ListTransactions(
        self, request: posting_pb2.ListTransactionsRequest, _: Context
    ) -> posting_pb2.ListTransactionsResponse:
        """List transactions by sequence."""
        violations = tenant_violations(request)
        violations.text(request.reference, "reference", MAX_REFERENCE)
        wanted = TransactionFilter(
            account_id=optional_account_id(violations, request.account_id, "account_id"),
            type=optional_enum(violations, request.type, "type", TransactionType),
            reference=request.reference,
            only_limit_breached=request.only_limit_breached,
        )
        recorded = span(violations, request)
        size = page_size(request, violations)
        position = page_position(request, violations, like=(0,))
        violations.check()
        page = await self._reads.list_transactions(
            request.tenant_id,
            wanted,
            recorded,
            position=int(position[0]) if position else None,
            newest_first=request.newest_first,
            size=size,
        )
        return posting_pb2.ListTransactionsResponse(
            transactions=await self._reads.courtesy.slices().made(page.items, _transaction),
            next_page_token="" if page.next is None else page_token(request, (page.next,)),
            sequence=page.sequence or 0,
        )

    async def ReverseTransaction(
        self, request: posting_pb2.ReverseTransactionRequest, context: Context
    ) -> bytes:
        """Post the mirror of a transaction, once."""
        item = self._reader.reverse(request)
        fact = await decide_one(self._ledger, request.tenant_id, item, context)
        return length_delimited(1, fact)


def _transaction(posted: PostedRecord) -> posting_pb2.Transaction:
    transaction = transaction_of(journal_pb2.JournalRecord.FromString(posted.record))
    assert transaction is not None, "the record was found as one that posts a transaction"
    return transaction
