"""Owns the serving of RPCs: bytes to message, servicer method, refusal to status, and metrics.

Handlers are wrapped once, when the server starts, instead of by an interceptor on every call.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing, nullcontext
from typing import Any, Final

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from defter_tracing import traces
from ledger_server.domain.errors import (
    MalformedMessage,
    MessageTooLarge,
    ReaderTooSlow,
    Refused,
    ServerFull,
    ShuttingDown,
    StoreUnavailable,
    TokenOverPlaintext,
)
from ledger_server.engine.incidents import report
from ledger_server.rpc.call_facts import METADATA, CallFacts, begin_call
from ledger_server.rpc.call_metrics import MethodCalls, count_denied
from ledger_server.rpc.call_spans import traced
from ledger_server.rpc.errors import Replayed, abort, code_of
from ledger_server.rpc.guard import AUTHORIZATION, Admission, Door, Guard
from ledger_server.rpc.request_budget import RequestBudget
from ledger_server.rpc.request_id import REQUEST_ID_KEY
from ledger_server.rpc.shares import SIZE, Passage, Shares, Way
from ledger_server.rpc.tenant_scope import name_of
from ledger_server.store.database import is_outage

MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024

# The server is quiet once no call has come in for so many rounds of this length; and how many are tried where
# callers don't stop. Where the machine has no time for this process, silence proves nothing, so rounds that
# took too long don't count, up to a bound.
_QUIET_SECONDS: Final = 0.025
_QUIET_ROUNDS: Final = 6
_MOST_ROUNDS: Final = 16
_MOST_LATE_ROUNDS: Final = 100
# Errors that an error may have come of, as far as they are looked at.
_MOST_CAUSES: Final = 20
# Turns of the event loop that a call needs from gRPC's thread to its handler, with some to spare.
_TURNS: Final = 10

Context = grpc.aio.ServicerContext[Any, Any]


class _UnderWay:
    """How many calls have begun and not ended, the bytes of their requests, and how long a write may take.

    Attributes:
        count: calls whose work is not done.
    """

    __slots__ = ("_ended", "_loop", "budget", "count", "shares", "write_seconds")

    def __init__(self, budget: RequestBudget, shares: Shares, write_seconds: float) -> None:
        self.budget = budget
        self.shares = shares
        self.write_seconds = write_seconds
        self.count = 0
        self._ended: deque[asyncio.Task[Any]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None

    def end(self) -> None:
        """Note that the work of the call under way is done, and forget calls whose tasks have ended.

        gRPC ends a call's task once its status is sent, or nobody waits for it any more. Two tasks are looked
        at for each call that ends, so those that are over are never many. A callback of gRPC would tell at
        once, and leave a reference cycle behind each call.
        """
        self.count -= 1
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        task = asyncio.current_task(self._loop)  # without the loop it would be found out by a system call
        assert task is not None, "gRPC serves each call in a task"
        ended = self._ended
        ended.append(task)
        first = ended.popleft()
        if not first.done():
            ended.append(first)
        if ended:
            first = ended.popleft()
            if not first.done():
                ended.append(first)

    @property
    def unsent(self) -> int:
        """How many calls have no status yet; some of them wait for their caller to read."""
        return self.count + sum([not task.done() for task in self._ended])


class Handlers(grpc.GenericRpcHandler):
    """Finds the handler of a call for all services.

    Methods are not registered with gRPC one by one, as generated code does: from version 1.84 on, gRPC then
    waits after each call anew for a call of every registered method.
    """

    def __init__(
        self,
        services: Iterable[tuple[ServiceDescriptor, object]],
        budget: RequestBudget,
        shares: Shares,
        *,
        write_seconds: float,
        guard: Guard | None = None,
    ) -> None:
        """Take services with their servicers, and what all calls share.

        Args:
            budget: how many bytes of requests may be under way.
            shares: the quotas and gates that every call passes.
            write_seconds: a stream is ended if its caller takes nothing for this long.
            guard: admits calls; None: everyone may call everything.
        Raises:
            TenantUnclear: nobody has said what permission a method needs.

        A servicer has an async method for every RPC; a stream answers by an async generator.
        """
        self._methods: dict[str, MethodDescriptor] = {}
        self._by_path: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self._call_count = 0
        self._guard = guard
        self._under_way = _UnderWay(budget, shares, write_seconds)
        for service, servicer in services:
            for method in service.methods:
                path = f"/{service.full_name}/{method.name}"
                self._methods[path] = method
                self._by_path[path] = self._handler(method, getattr(servicer, method.name))

    @property
    def under_way(self) -> int:
        """How many calls have begun and not ended."""
        return self._under_way.count

    @property
    def unsent(self) -> int:
        """How many calls have begun and have no status yet."""
        return self._under_way.unsent

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return the handler of a call's method, or None for an unknown method."""
        self._call_count += 1
        METADATA.set(handler_call_details.invocation_metadata)  # the same task serves the call
        return self._by_path.get(handler_call_details.method)

    def turn_away(self) -> None:
        """Answer every call from here on that the server is draining."""
        self._by_path = {
            path: self._handler(method, _turn_away_stream if method.server_streaming else _turn_away)
            for path, method in self._methods.items()
        }

    async def until_quiet(self) -> None:
        """Return when no call has come in for a moment, or when callers don't stop calling."""
        quiet = rounds = late = 0
        while quiet < _QUIET_ROUNDS and rounds < _MOST_ROUNDS and late < _MOST_LATE_ROUNDS:
            before = self._call_count
            if await _moment():
                rounds += 1
                quiet += 1
            else:
                late += 1
            if self._call_count != before:
                quiet = 0

    async def until_idle(self) -> None:
        """Return when no call is under way."""
        while self._under_way.count:  # noqa: ASYNC110  # an event would be work for every call
            await asyncio.sleep(_QUIET_SECONDS)

    async def until_sent(self, seconds: float) -> None:
        """Return when every call has its status, or when none has got one for some time.

        Whoever does not read can't be given a status, and is not waited for any longer.

        Args:
            seconds: that time, in which the machine had time for this process.
        """
        unsent, left = self.unsent, seconds
        while unsent and left > 0:
            if await _moment():
                left -= _QUIET_SECONDS
            if self.unsent < unsent:
                left = seconds
            unsent = self.unsent

    def _handler(
        self, method: MethodDescriptor, behaviour: Callable[..., Any]
    ) -> grpc.RpcMethodHandler[Any, Any]:
        # A request without room is not even parsed. A stream waits for room instead.
        budget = None if method.client_streaming else self._under_way.budget
        deserialize = _deserializer(GetMessageClass(method.input_type), budget)
        name = name_of(method)
        door = None if self._guard is None else self._guard.door(method)
        wrap = _stream if method.server_streaming else _unary
        way = Way(method, self._under_way.shares, self._under_way.budget)
        calls = _Calls(name, self._under_way, door, way)
        # In a stream of messages with one answer, a broken message reaches the servicer as its refusal.
        make = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[method.client_streaming, method.server_streaming]
        serve: Callable[[Any, Context], Awaitable[Any]] = wrap(calls, behaviour)
        made = traces()
        if made is not None:
            serve = traced(serve, name, made)
        return make(serve, deserialize, _serialize)


async def _turn_away(_: object, __: Context) -> Message:
    raise ShuttingDown


async def _turn_away_stream(_: object, __: Context) -> AsyncIterator[Message]:
    responses: tuple[Message, ...] = ()
    for response in responses:
        yield response
    raise ShuttingDown


async def _moment() -> bool:
    """Let a moment pass, and what came in by then reach its handler; return whether it took no longer."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    await asyncio.sleep(_QUIET_SECONDS)
    for _ in range(_TURNS):
        await asyncio.sleep(0)
    return loop.time() - start < 2 * _QUIET_SECONDS


def _serialize(message: Message | bytes) -> bytes:
    """Serialize a response, unless its bytes were composed already."""
    return message if type(message) is bytes else message.SerializeToString()  # type: ignore[union-attr]


def _deserializer(
    message_class: type[Message], budget: RequestBudget | None
) -> Callable[[bytes], Message | Refused]:
    """Return a parser that hands broken bytes on as a refusal, so that the caller is told why.

    It runs in the task that takes the message, so it notes the size for that task.
    """
    parse = message_class.FromString

    def deserialize(data: bytes) -> Message | Refused:
        if len(data) > MAX_MESSAGE_BYTES:
            return MessageTooLarge(size_bytes=len(data), limit_bytes=MAX_MESSAGE_BYTES)
        if budget is not None and not budget.has_room(len(data)):
            return ServerFull()
        SIZE.set(len(data))
        try:
            return parse(data)
        except DecodeError:
            return MalformedMessage()

    return deserialize


class _Calls:
    """The calls of one method: how each begins and ends, whatever it is about."""

    __slots__ = ("_ended", "_tenant_of", "_under_way", "_way", "door", "is_stream", "name", "write_seconds")

    def __init__(self, name: str, under_way: _UnderWay, door: Door | None, way: Way) -> None:
        self.name = name
        self.door = door
        self.write_seconds = under_way.write_seconds
        self._under_way = under_way
        self._way = way
        self._tenant_of = way.tenant_of
        self.is_stream = way.is_stream
        self._ended = MethodCalls(name).ended

    def begin(self, request: Any) -> CallFacts:
        """Count a call, and note what is known of it at once."""
        self._under_way.count += 1
        facts = begin_call(self.name, METADATA.get())
        if not self.is_stream and not isinstance(request, Refused):
            facts.tenant_id = self._tenant_of(request)
        return facts

    def admit(self, request: Any, context: Context, facts: CallFacts) -> tuple[Passage, Admission | None]:
        """Return the way of a call that may be worked on, and on a guarded server what admitted it.

        Raises:
            Refused: it is broken, not permitted, or too much.
        """
        admission: Admission | None = None
        for key, _ in facts.metadata:
            if key == REQUEST_ID_KEY:  # the caller looks for it; else it is told of errors alone
                context.set_trailing_metadata(((REQUEST_ID_KEY, facts.request_id),))
            elif key == AUTHORIZATION and self.door is None:
                raise TokenOverPlaintext
        if self.door is not None:
            admission = self.door.admit(request, context)
            request = admission.request
        elif isinstance(request, Refused):
            raise request
        return self._way.begin(request, facts.tenant_id, facts.identity), admission

    def end(self, facts: CallFacts, passage: Passage | None, code: str, seconds: float) -> None:
        """Count a call that has ended; its status may not be sent yet."""
        self._under_way.end()
        if passage is not None:
            passage.end()
        facts.end(code)
        self._ended(code, seconds)


def _unary(
    calls: _Calls, behaviour: Callable[[Any, Context], Awaitable[Message | bytes]]
) -> Callable[[Any, Context], Awaitable[Message | bytes]]:
    door = calls.door

    async def serve(request: Any, context: Context) -> Message | bytes:
        start = time.perf_counter()
        code = "OK"
        admission: Admission | None = None
        passage: Passage | None = None
        facts = calls.begin(request)
        try:
            passage, admission = calls.admit(request, context, facts)
            if passage.waits is not None:
                await passage.waits
            if admission is None:
                response = await behaviour(passage.request, context)
            else:
                request = admission.request
                with nullcontext() if door is None or not calls.is_stream else door.guard.watching(admission):
                    response = await behaviour(passage.request, context)
        except asyncio.CancelledError:  # the caller has given up, or its deadline has passed
            code = "CANCELLED"
            if admission is not None and admission.refused is not None:
                code = code_of(admission.refused).name
                # Or the guard has ended the call.
                await _refuse(context, admission.refused, door, request)
            raise
        except Exception as error:  # whatever it is, somebody waits for an answer
            refusal = _refusal(calls.name, error)
            _forget(error)
            code = code_of(_bare(refusal)).name
            await _refuse(context, refusal, door, request)
            raise  # not reached: refusing ends the call
        finally:
            calls.end(facts, passage, code, time.perf_counter() - start)
        if door is not None:
            door.tell_read(request, context)
        return response

    return serve


def _stream(
    calls: _Calls, behaviour: Callable[[Any, Context], AsyncGenerator[Message | bytes, None]]
) -> Callable[[Any, Context], Awaitable[None]]:
    door = calls.door

    async def serve(request: Any, context: Context) -> None:
        start = time.perf_counter()
        code = "OK"
        refusal: Refused | Replayed | None = None
        admission: Admission | None = None
        passage: Passage | None = None
        facts = calls.begin(request)
        try:
            passage, admission = calls.admit(request, context, facts)
            if door is not None and admission is not None:
                request = admission.request
                door.tell_read(request, context)  # now, since a watch may last for ever
            with nullcontext() if door is None or admission is None else door.guard.watching(admission):
                if passage.waits is not None:
                    await passage.waits
                async with aclosing(behaviour(passage.request, context)) as responses:
                    async for response in responses:
                        await _write(context, response, responses, calls.write_seconds)
        except asyncio.CancelledError:
            if admission is None or admission.refused is None:
                code = "CANCELLED"
                raise
            refusal = admission.refused  # the guard has ended this call, which is told why
        except Exception as error:  # noqa: BLE001  # whatever it is, somebody waits for an answer
            refusal = _refusal(calls.name, error)
            _forget(error)
        finally:
            # From here on no work is done for the caller; the status may wait until the caller reads.
            if refusal is not None:
                code = code_of(_bare(refusal)).name
            calls.end(facts, passage, code, time.perf_counter() - start)
        if refusal is not None:
            await _refuse(context, refusal, door, request)

    return serve


def _forget(error: BaseException | None) -> None:
    """Let go of what was at hand where an error was raised, and those that it came of.

    An error refers to its frames, and they to it. Without this a large request would stay in memory until the
    next search for cycles, and who is refused sends it again. What is no refusal is logged with its way
    before. The frames themselves may be those of a task that goes on, such as one that reads for several
    calls: they are not touched.
    """
    for _ in range(_MOST_CAUSES):
        if error is None:
            return
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


async def _write(
    context: Context,
    response: Message | bytes,
    responses: AsyncGenerator[Message | bytes, None],
    seconds: float,
) -> None:
    """Hand a response over, once the caller has room for it.

    Raises:
        ReaderTooSlow: the caller had no room for too long. When it reads on, it gets what was handed over,
            then this.
    """
    try:
        async with asyncio.timeout(seconds):
            await context.write(response)
    except TimeoutError:
        await responses.athrow(ReaderTooSlow())  # a servicer with more details raises ReaderTooSlow itself
        raise ReaderTooSlow from None
    except grpc.aio.BaseError:
        # The caller went away, or the server has stopped, and gRPC has not told this call yet.
        raise asyncio.CancelledError from None


def _refusal(method: str, error: Exception) -> Refused | Replayed:
    """Return the refusal that an error stands for.

    Raises:
        grpc.aio.AbortError: the call has got its status already.
    """
    if isinstance(error, Replayed | Refused):
        return error
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if is_outage(error):
        return StoreUnavailable()
    return report(error, "an RPC failed", method=method)


def _bare(refusal: Refused | Replayed) -> Refused:
    return refusal.refused if isinstance(refusal, Replayed) else refusal


async def _refuse(context: Context, refusal: Refused | Replayed, door: Door | None, request: object) -> None:
    """End the call with the status of a refusal, and tell the audit log."""
    refused = _bare(refusal)
    count_denied(refused)
    if door is not None:
        door.tell_refused(refused, request, context)
    try:
        await abort(context, refused, replayed=isinstance(refusal, Replayed))
    except grpc.aio.AbortError as aborted:
        # gRPC keeps it with the call, and its way here leads to the call again: a cycle with the request.
        asyncio.get_running_loop().call_soon(_forget, aborted)
        raise
    except grpc.aio.BaseError:
        # The status waited for the caller to read on, and the caller went away instead.
        raise asyncio.CancelledError from None


def deadline_of(context: Context) -> float | None:
    """Return a call's deadline in the event loop's time."""
    # `time_remaining` returns None without a deadline, whatever the type stubs say.
    remaining: float | None = context.time_remaining()
    return None if remaining is None else asyncio.get_running_loop().time() + remaining
