# Generated from _async/calls.py by `make gen`: do not edit.
"""Own a call: the request is completed, tried again while that is safe, and its failure gets its type."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from defter_client import threads as io
from defter_client._blocking.connections import Connection, Connections
from defter_client._blocking.streams import Requests, Stream
from defter_client.answer import Answer
from defter_client.errors import LedgerError
from defter_client.failures import is_replayed, leaves_unknown, ledger_error
from defter_client.keys import MADE, new_key
from defter_retrying.backoff import pause_seconds
from defter_retrying.calls import may_come_again, retry_delay
from defter_tracing import Kind, traces

FIRST_PAUSE_SECONDS: Final = 0.05
LONGEST_PAUSE_SECONDS: Final = 2.0
_MOST_TIMEOUT_SECONDS: Final = 86_400.0 * 365
"""gRPC takes a time that lies too far ahead for one that is over."""
_LEAST_TIMEOUT_SECONDS: Final = 0.001
"""A call whose time is up is still made, and told so by gRPC."""
_KEY: Final = "idempotency_key"
_Request = TypeVar("_Request", bound=Message)
_Response = TypeVar("_Response", bound=Message)
Metadata = Sequence[tuple[str, str]]


class Caller:
    """Makes the calls of a client."""

    def __init__(self, connections: Connections, *, tenant: str, timeout_seconds: float) -> None:
        """Make none yet.

        Args:
            tenant: stands in for an empty `tenant_id`; empty: none does.
            timeout_seconds: for a call with all its tries, where the call does not say otherwise.
        """
        self.connections = connections
        self._tenant = tenant
        self._timeout_seconds = timeout_seconds

    def read(
        self,
        path: str,
        request: Message,
        response: type[_Response],
        *,
        seconds: float | None,
        metadata: Metadata,
    ) -> _Response:
        """Make a call that has no key."""
        completed = self.completed(request)
        try:
            found, _ = self._tried(path, completed, response, seconds=seconds, metadata=metadata, key="")
        except LedgerError as error:
            error.keys = tuple(item.idempotency_key for item in _items(completed))
            raise
        return found

    def keyed(
        self,
        path: str,
        request: Message,
        response: type[_Response],
        key: str,
        *,
        seconds: float | None,
        metadata: Metadata,
    ) -> Answer[_Response]:
        """Make a call that has a key, and say which."""
        completed, used = self.with_key(request, key)
        found, replayed = self._tried(path, completed, response, seconds=seconds, metadata=metadata, key=used)
        return Answer(found, used, replayed)

    def stream(
        self,
        path: str,
        request: Message,
        response: type[_Response],
        *,
        seconds: float | None,
        metadata: Metadata,
    ) -> Stream[_Response]:
        """Begin a call that answers in a stream; without `seconds` it goes on as long as it takes."""
        begin = self.connections.next().server_stream(path, response)
        return Stream(begin(self.completed(request), timeout=seconds, metadata=self._sent(metadata)))

    def keyed_stream(
        self,
        path: str,
        request: Message,
        response: type[_Response],
        key: str,
        *,
        seconds: float | None,
        metadata: Metadata,
    ) -> Stream[_Response]:
        """Begin a call that has a key and answers in a stream."""
        completed, used = self.with_key(request, key)
        begin = self.connections.next().server_stream(path, response)
        return Stream(begin(completed, timeout=seconds, metadata=self._sent(metadata)), used)

    def client_stream(
        self,
        path: str,
        requests: Iterable[Message],
        response: type[_Response],
        *,
        seconds: float | None,
        metadata: Metadata,
    ) -> _Response:
        """Make a call of many requests; it is not tried again, since they may be there once only."""
        send = self.connections.next().client_stream(path, response)
        source = Requests(requests)
        answer: _Response
        try:
            answer, _ = io.answered(send, source.sent(), timeout=seconds, metadata=self._sent(metadata))
        except io.RpcError as error:
            if source.error is not None:
                raise source.error from None  # the caller's own
            raise ledger_error(error) from None
        return answer

    def both_streams(
        self,
        path: str,
        requests: Iterable[Message],
        response: type[_Response],
        *,
        seconds: float | None,
        metadata: Metadata,
    ) -> Stream[_Response]:
        """Begin a call with streams both ways; it is not tried again."""
        begin = self.connections.next().both_streams(path, response)
        source = Requests(requests)
        call = begin(source.sent(), timeout=seconds, metadata=self._sent(metadata))
        return Stream(call, requests=source)

    def completed(self, request: _Request) -> _Request:
        """Return the request with the client's tenant if it has none, and a key for each item of a batch."""
        needs_tenant = bool(self._tenant) and not getattr(request, "tenant_id", self._tenant)
        needs_keys = any(not item.idempotency_key for item in _items(request))
        if not needs_tenant and not needs_keys:
            return request
        copy = _copied(request)
        if needs_tenant:
            copy.tenant_id = self._tenant  # type: ignore[attr-defined]  # all but one kind of request has it
        for item in _items(copy):
            item.idempotency_key = item.idempotency_key or new_key()
        return copy

    def with_key(self, request: _Request, key: str) -> tuple[_Request, str]:
        """Return the completed request with its key, and the key.

        Raises:
            ValueError: the request has another key than the one that is given, or that one is empty.
            TypeError: the key is no text.
        """
        # An id that is missing must not pass for "make me one": each try of its event would move money anew.
        if not isinstance(key, str):
            raise TypeError(f"a key is a text, and not {key!r}")
        if not key and key is not MADE:
            raise ValueError("the key is empty; leave it out, and one is made")
        completed = self.completed(request)
        own = getattr(completed, _KEY)
        if own:
            if key and key != own:
                raise ValueError(f"the request has the key {own!r}, and {key!r} is given")
            return completed, own
        copy = _copied(request) if completed is request else completed
        used = key or new_key()
        setattr(copy, _KEY, used)
        return copy, used

    def timeout_of(self, seconds: float | None) -> float:
        """Return for how long a call may go on in all.

        Raises:
            ValueError: it is no number.
        """
        chosen = self._timeout_seconds if seconds is None else seconds
        if math.isnan(chosen):
            raise ValueError("a timeout is a number of seconds")
        return min(chosen, _MOST_TIMEOUT_SECONDS)

    def _sent(self, metadata: Metadata) -> Metadata:
        """Return the metadata of a stream, with the trace in which it is begun."""
        made = traces()
        return metadata if made is None else (*metadata, *made.outgoing())

    def _tried(
        self,
        path: str,
        request: Message,
        response: type[_Response],
        *,
        seconds: float | None,
        metadata: Metadata,
        key: str,
    ) -> tuple[_Response, bool]:
        made = traces()
        if made is None:
            return self._tries(
                path, request, response, seconds=self.timeout_of(seconds), metadata=metadata, key=key
            )
        name = path.rpartition("/")[2]
        with made.span(name, Kind.CLIENT, attributes={"rpc.system.name": "grpc"}) as span:
            sent = (*metadata, *made.outgoing())
            try:
                return self._tries(
                    path, request, response, seconds=self.timeout_of(seconds), metadata=sent, key=key
                )
            except Exception as error:
                code = getattr(error, "code", None)
                span.fail(type(error).__name__ if code is None else code.name)
                raise

    def _tries(
        self,
        path: str,
        request: Message,
        response: type[_Response],
        *,
        seconds: float,
        metadata: Metadata,
        key: str,
    ) -> tuple[_Response, bool]:
        deadline = io.now() + seconds
        left = seconds
        failures = 0
        is_unknown = False
        closings = self.connections.closings
        while True:
            connection = self.connections.next()
            try:
                found, trailing = io.answered(
                    connection.unary(path, response),
                    request,
                    timeout=max(left, _LEAST_TIMEOUT_SECONDS),
                    metadata=metadata,
                )
            except io.RpcError as error:
                failure: Any = error
            else:
                return found, is_replayed(trailing)
            failures += 1
            left = deadline - io.now()
            pause = pause_before_next(connection, failure, failures, left)
            if pause is not None:
                io.sleep(pause)
            # A client that was closed in the meantime is not opened again for this call.
            if pause is None or closings != self.connections.closings:
                raise ledger_error(failure, key=key, was_unknown=is_unknown) from None
            is_unknown = is_unknown or leaves_unknown(failure)
            left = deadline - io.now()


def pause_before_next(
    connection: Connection, failure: Any, failures: int, left_seconds: float
) -> float | None:
    """Return how long to wait before the same call is made again, or None if it is not."""
    if not may_come_again(failure):
        return None
    connection.rest()
    return pause_seconds(
        failures=failures,
        asked_seconds=retry_delay(failure),
        left_seconds=left_seconds,
        first_seconds=FIRST_PAUSE_SECONDS,
        longest_seconds=LONGEST_PAUSE_SECONDS,
        uniform=random.uniform,
    )


def _copied(request: _Request) -> _Request:
    copy = type(request)()
    copy.CopyFrom(request)
    return copy


def _items(request: Message) -> Sequence[Any]:
    """Return the items of a batch that have keys of their own."""
    items = getattr(request, "items", ())
    return items if items and hasattr(items[0], _KEY) else ()
