"""Owns PostingService."""

from collections.abc import AsyncIterator

from defter.ledger.v1 import posting_pb2

from ledger_server.engine.ledger import Ledger
from ledger_server.engine.wire_format import length_delimited
from ledger_server.rpc.outcomes import decide_one, item_result, results_message, settle_atomic
from ledger_server.rpc.requests import RequestReader, batch_mode, check_batch_size, check_tenant
from ledger_server.rpc.serving import Context, deadline_of
from ledger_server.rpc.transaction_stream import TransactionStream


class PostingServicer:
    """Posts and reads transactions."""

    def __init__(self, ledger: Ledger, reader: RequestReader) -> None:
        self._ledger = ledger
        self._reader = reader

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
        read = self._reader.post_item
        items = [
            read(item.idempotency_key, item.transaction, f"items[{index}].")
            for index, item in enumerate(request.items)
        ]
        outcomes = await self._ledger.submit(
            request.tenant_id, items, atomic=atomic, deadline=deadline_of(context)
        )
        if atomic:
            settle_atomic(outcomes, context)
        return results_message(
            [
                item_result(item.idempotency_key, outcome)
                for item, outcome in zip(request.items, outcomes, strict=True)
            ]
        )

    async def StreamTransactions(
        self, requests: AsyncIterator[posting_pb2.StreamTransactionsRequest], _: Context
    ) -> AsyncIterator[bytes]:
        """Post transactions as fast as they come."""
        stream = TransactionStream(self._ledger, self._reader)
        async for response in stream.run(requests):
            yield response

    async def ReverseTransaction(
        self, request: posting_pb2.ReverseTransactionRequest, context: Context
    ) -> bytes:
        """Post the mirror of a transaction, once."""
        item = self._reader.reverse(request)
        fact = await decide_one(self._ledger, request.tenant_id, item, context)
        return length_delimited(1, fact)
