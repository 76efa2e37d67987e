"""Own a fake and a server that are asked the same, and whose answers are compared."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final

import grpc
from defter.ledger.v1 import journal_pb2, posting_pb2, tenant_pb2
from defter.ledger.v1.posting_pb2_grpc import PostingServiceStub
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from defter_testing import FakeLedger, ManualClock
from defter_testing.fake import EPOCH
from defter_testing.wiring import SERVICES
from ledger_server.domain.ledger.accounts import MAX_AMOUNT
from ledger_server.domain.ledger.amounts import OTHERS
from ledger_server.jobs.hold_expiry import HoldExpiry
from tests.support.clock import START
from tests.support.fake_provider import PROVIDER, FakeAdapter
from tests.support.patience import HANG_SECONDS
from tests.support.postgres import Databases, run_sql
from tests.support.service import Service, serving
from tests.support.wire import CHANNEL_OPTIONS, REPLAYED, read_refusal

NEVER_SECONDS: Final = 1e9
METHODS: Final = {method.name: method for service in SERVICES for method in service.methods}


class Pair:
    """A fake and a server with one clock, which are asked the same."""

    def __init__(self, fake: FakeLedger, service: Service, clock: ManualClock) -> None:
        self.fake = fake
        self.clock = clock
        self._expiry = HoldExpiry(service.server.ledger, service.server._pools[0], clock, NEVER_SECONDS)
        self._channels = [grpc.aio.insecure_channel(fake.target, options=CHANNEL_OPTIONS), service.channel]

    async def ask(self, name: str, request: Message) -> Any:
        """Ask both; return the response, or None where both have refused."""
        answers = [await self._answer(channel, METHODS[name], request) for channel in self._channels]
        assert answers[0] == answers[1], f"{name}: {request}\nfake: {answers[0]}\nserver: {answers[1]}"
        return answers[0][0]

    async def stream(self, tenant_id: str, items: Sequence[posting_pb2.PostTransactionItem]) -> None:
        """Send transactions to both by a stream, each in a message of its own."""
        found = [await _streamed(channel, tenant_id, items) for channel in self._channels]
        assert found[0] == found[1]

    async def pages(self, name: str, request: Any) -> None:
        """Ask both for all pages of a list."""
        while (response := await self.ask(name, request)) is not None and response.next_page_token:
            request.page_token = response.next_page_token

    async def pass_time(self, by: timedelta, *, sweep: bool) -> None:
        """Move the clock; holds that are due then end at once, or not before somebody touches them."""
        if not sweep:
            self.clock.move(by)
            return
        await asyncio.to_thread(self.fake.advance, by)
        for tenant_id in await self._expiry._due():
            await self._expiry.expire(tenant_id)

    async def journal(self, tenant_id: str) -> list[bytes]:
        """Watch the journals to their end, and return the records, which are equal."""
        head = (
            await self.ask("GetTenant", tenant_pb2.GetTenantRequest(tenant_id=tenant_id))
        ).tenant.head_sequence
        watched = [await self._watched(channel, tenant_id, head) for channel in self._channels]
        assert watched[0] == watched[1]
        return watched[0]

    async def close(self) -> None:
        """Close the fake's channel."""
        await self._channels[0].close()

    async def _answer(
        self, channel: grpc.aio.Channel, method: MethodDescriptor, request: Message
    ) -> tuple[Message | None, object]:
        path = f"/{method.containing_service.full_name}/{method.name}"
        read = GetMessageClass(method.output_type).FromString
        call: Any = channel.unary_unary(path, type(request).SerializeToString, read)(
            request, timeout=HANG_SECONDS
        )
        try:
            response: Message = await call
        except grpc.aio.AioRpcError as error:
            return None, read_refusal(error)
        return response, REPLAYED in tuple(await call.trailing_metadata() or ())

    async def _watched(self, channel: grpc.aio.Channel, tenant_id: str, head: int) -> list[bytes]:
        request = journal_pb2.WatchJournalRequest(tenant_id=tenant_id)
        path = "/defter.ledger.v1.JournalService/WatchJournal"
        read = journal_pb2.WatchJournalResponse.FromString
        call: Any = channel.unary_stream(path, type(request).SerializeToString, read)(request)
        found: list[bytes] = []
        async with asyncio.timeout(HANG_SECONDS):
            async for response in call:
                found += [entry.SerializeToString(deterministic=True) for entry in response.entries]
                if len(found) >= head:
                    break
        call.cancel()
        return found


@asynccontextmanager
async def pair_of(databases: Databases) -> AsyncIterator[Pair]:
    """Run a server and a fake."""
    clock = ManualClock(START)
    with databases.fresh() as url, FakeLedger(clock=clock, max_amounts={OTHERS: MAX_AMOUNT}) as fake:
        run_sql(url, f"UPDATE history SET epoch = '{EPOCH}'")
        # Nothing is done in the background: what is due, is due at the next command.
        async with serving(
            url,
            clock=clock,
            providers={PROVIDER: WholeAmounts()},
            expiry_sweep_seconds=NEVER_SECONDS,
            parked_sweep_seconds=NEVER_SECONDS,
            parked_grace_seconds=NEVER_SECONDS,
        ) as service:
            pair = Pair(fake, service, clock)
            try:
                yield pair
            finally:
                await pair.close()


class WholeAmounts(FakeAdapter):
    """A provider that counts like the ledger, as the fake's own does."""

    def to_provider(self, amount: int, *_: object, **__: object) -> int:
        """Return the same amount."""
        return amount

    def from_provider(self, amount: int, *_: object) -> int:
        """Return the same amount."""
        return amount


async def _streamed(
    channel: grpc.aio.Channel, tenant_id: str, items: Sequence[posting_pb2.PostTransactionItem]
) -> Sequence[Message]:
    requests = [posting_pb2.StreamTransactionsRequest(tenant_id=tenant_id, items=[item]) for item in items]
    stub: Any = PostingServiceStub(channel)
    responses = stub.StreamTransactions(iter(requests), timeout=HANG_SECONDS)
    return [result async for response in responses for result in response.results]
