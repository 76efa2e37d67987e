"""Owns the failures that a test asks for: which call meets which of them."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from enum import Enum
from typing import Any, Final, NamedTuple

from google.protobuf.descriptor import MethodDescriptor

from ledger_server.domain.errors import Internal, LaneFull, Refused, ShuttingDown, StoreUnavailable
from ledger_server.rpc.serving import Context
from ledger_server.rpc.tenant_scope import name_of, tenant_reader

Unary = Callable[[Any, Context], Awaitable[Any]]
Stream = Callable[[Any, Context], AsyncGenerator[Any, None]]


class Failure(Enum):
    """What a call meets.

    Attributes:
        UNAVAILABLE_BEFORE: UNAVAILABLE; nothing was decided.
        UNAVAILABLE_AFTER: UNAVAILABLE; what was asked for is done, and only the answer is lost.
        LANE_FULL: RESOURCE_EXHAUSTED with RetryInfo; nothing was decided.
        INTERNAL: INTERNAL; nothing was decided, which the caller can't know.
        DELAY: the call is begun later.
    """

    UNAVAILABLE_BEFORE = "unavailable before"
    UNAVAILABLE_AFTER = "unavailable after"
    LANE_FULL = "lane full"
    INTERNAL = "internal"
    DELAY = "delay"


class _Ordered(NamedTuple):
    failure: Failure
    method: str
    delay_seconds: float

    def is_for(self, method: str) -> bool:
        return self.method in ("", method, method.rpartition("/")[2])


class Failures:
    """The failures of calls to come. Ordered from any thread; met in the fake's own."""

    def __init__(self) -> None:
        self._ordered: deque[_Ordered] = deque()
        self._lock: Final = threading.Lock()
        self._cut: asyncio.Future[None] | None = None

    def order(self, failure: Failure, *, method: str, times: int, delay_seconds: float) -> None:
        """Have the next calls of a method fail, behind what was ordered before.

        Args:
            method: `PostTransaction` or `defter.ledger.v1.PostingService/PostTransaction`; empty: of any.
        """
        with self._lock:
            self._ordered.extend([_Ordered(failure, method, delay_seconds)] * times)

    def forget(self) -> None:
        """Have no further call fail."""
        with self._lock:
            self._ordered.clear()

    def cut_streams(self) -> None:
        """End all streams that are open with UNAVAILABLE; in the fake's own thread."""
        if self._cut is not None and not self._cut.done():
            self._cut.set_result(None)
        self._cut = None

    def wrapped(self, method: MethodDescriptor, behaviour: Any) -> Any:
        """Return a servicer's method that meets the failures."""
        if method.server_streaming:
            return self._stream(method, behaviour)
        return self._unary(method, behaviour)

    def _take(self, method: str) -> _Ordered | None:
        with self._lock:
            for ordered in self._ordered:
                if ordered.is_for(method):
                    self._ordered.remove(ordered)
                    return ordered
        return None

    async def _meet(self, ordered: _Ordered | None, tenant_id: str) -> None:
        """Raise what a call meets before it is begun."""
        if ordered is None:
            return
        match ordered.failure:
            case Failure.DELAY:
                await asyncio.sleep(ordered.delay_seconds)
            case Failure.UNAVAILABLE_BEFORE:
                raise StoreUnavailable
            case Failure.LANE_FULL:
                raise LaneFull(tenant_id=tenant_id)
            case Failure.INTERNAL:
                raise Internal(error_id="asked-for-by-the-test")
            case Failure.UNAVAILABLE_AFTER:
                pass

    def _unary(self, method: MethodDescriptor, behaviour: Unary) -> Unary:
        name, tenant_of = name_of(method), tenant_reader(method)
        is_one = not method.client_streaming

        async def serve(request: Any, context: Context) -> Any:
            ordered = self._take(name)
            await self._meet(ordered, (tenant_of(request) or "") if is_one else "")
            is_lost = ordered is not None and ordered.failure is Failure.UNAVAILABLE_AFTER
            try:
                response = await behaviour(request, context)
            except Refused:
                if is_lost:
                    raise StoreUnavailable from None
                raise
            if is_lost:
                raise StoreUnavailable
            return response

        return serve

    def _stream(self, method: MethodDescriptor, behaviour: Stream) -> Stream:
        name = name_of(method)

        async def serve(request: Any, context: Context) -> AsyncGenerator[Any, None]:
            if self._cut is None:
                self._cut = asyncio.get_running_loop().create_future()
            cut = self._cut
            ordered = self._take(name)
            await self._meet(ordered, "")
            async with aclosing(behaviour(request, context)) as responses:
                while True:
                    response = await _next(responses, cut)
                    if ordered is not None and ordered.failure is Failure.UNAVAILABLE_AFTER:
                        raise StoreUnavailable
                    if response is None:
                        return
                    yield response

        return serve


async def _next(responses: AsyncGenerator[Any, None], cut: "asyncio.Future[None]") -> Any:
    """Return the next response, None at the end. Raises ShuttingDown if all streams were cut."""
    coming = asyncio.ensure_future(anext(responses, None))
    try:
        await asyncio.wait({coming, cut}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not coming.done():
            coming.cancel()
            await asyncio.wait({coming})
    if cut.done():
        if not coming.cancelled():
            coming.exception()  # nobody else looks at it
        raise ShuttingDown
    return coming.result()
