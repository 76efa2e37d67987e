"""Own how the scenario uses the Python clients: the same verbs over the async and the blocking one."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Protocol

from defter.ledger.v1 import posting_pb2
from google.protobuf.message import Message

from defter_client import BlockingLedgerClient, Checkpoint, LedgerClient
from tools.clients.contract import Rpc, Use, rpcs
from tools.clients.python import attribute_of

RPCS: dict[str, Rpc] = {rpc.path.removeprefix("/"): rpc for rpc in rpcs()}


class Driver(Protocol):
    """A client, as the scenario uses it."""

    async def call(self, method: str, request: Message, key: str) -> tuple[Message, str, bool]:
        """Make a call; return the response, the key that was used, and whether it was decided before.

        Args:
            key: empty: the request has one, or the client makes one.
        """

    def items(self, method: str, request: Message) -> AsyncIterator[Any]:
        """Iterate over a list."""

    def stream(self, items: Iterable[posting_pb2.PostTransactionItem]) -> AsyncIterator[Any]:
        """Post transactions by a stream."""

    def watch(self, after: Checkpoint | str) -> Any:
        """Follow the journal; `take` gives its records."""

    async def take(self, watch: Any) -> Any:
        """Return the next record."""

    async def close(self) -> None:
        """Close the client."""


class AsyncDriver:
    """The async client."""

    def __init__(self, target: str, tenant: str) -> None:
        self.client = LedgerClient(target, tenant=tenant, timeout_seconds=60)

    async def call(self, method: str, request: Message, key: str) -> tuple[Message, str, bool]:
        """Make a call."""
        made = _method(self.client, method)
        if RPCS[method].use is Use.KEYED:
            answer = await (made(request, key=key) if key else made(request))
            return answer.response, answer.key, answer.replayed
        return await made(request), "", False

    async def items(self, method: str, request: Message) -> AsyncIterator[Any]:
        """Iterate over a list."""
        async for item in _method(self.client, method)(request):
            yield item

    async def stream(self, items: Iterable[posting_pb2.PostTransactionItem]) -> AsyncIterator[Any]:
        """Post transactions by a stream."""
        async for result in self.client.stream_transactions(items):
            yield result

    def watch(self, after: Checkpoint | str) -> Any:
        """Follow the journal."""
        return self.client.watch(after, verify=True, heartbeat_seconds=1)

    async def take(self, watch: Any) -> Any:
        """Return the next record."""
        return await anext(watch)

    async def close(self) -> None:
        """Close the client."""
        await self.client.close()


class BlockingDriver:
    """The blocking client; it blocks the loop of the scenario, which has nothing else to do."""

    def __init__(self, target: str, tenant: str) -> None:
        self.client = BlockingLedgerClient(target, tenant=tenant, timeout_seconds=60)

    async def call(self, method: str, request: Message, key: str) -> tuple[Message, str, bool]:
        """Make a call."""
        made = _method(self.client, method)
        if RPCS[method].use is Use.KEYED:
            answer = made(request, key=key) if key else made(request)
            return answer.response, answer.key, answer.replayed
        return made(request), "", False

    async def items(self, method: str, request: Message) -> AsyncIterator[Any]:
        """Iterate over a list."""
        for item in _method(self.client, method)(request):
            yield item

    async def stream(self, items: Iterable[posting_pb2.PostTransactionItem]) -> AsyncIterator[Any]:
        """Post transactions by a stream."""
        for result in self.client.stream_transactions(items):
            yield result

    def watch(self, after: Checkpoint | str) -> Any:
        """Follow the journal."""
        return self.client.watch(after, verify=True, heartbeat_seconds=1)

    async def take(self, watch: Any) -> Any:
        """Return the next record."""
        return next(watch)

    async def close(self) -> None:
        """Close the client."""
        self.client.close()


DRIVERS: dict[str, Callable[[str, str], Driver]] = {"async": AsyncDriver, "blocking": BlockingDriver}


def _method(client: Any, method: str) -> Any:
    rpc = RPCS[method]
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", rpc.name).lower()
    return getattr(getattr(client, attribute_of(rpc.service)), name)
