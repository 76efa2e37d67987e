"""Own the connections of a client: opened at first use, one for each address, used in turn."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any, Final

from google.protobuf.message import Message

from defter_channel import Proof
from defter_client import aio as io

_REST_SECONDS: Final = 1.0
"""For so long an address that was away is passed over, where there are others."""
_OPTIONS: Final = (
    # The ledger's answers fit into the 4 MiB that gRPC accepts by default; a larger one would be a fault.
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    # A silently dead connection is given up 10 s after a request, or after 40 s of a long stream.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # The same for a ping of gRPC\'s own behind a request: by default it waits for a minute.
    ("grpc.http2.ping_timeout_ms", 10_000),
    # A server that is back is found within seconds; by default gRPC waits up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    # This one says how long a try to connect may take; a busy server needs more than the 100 ms of the first.
    ("grpc.min_reconnect_backoff_ms", 3_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # A name with several addresses: all of them, and a new one is found soon after a connection has ended.
    ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
    ("grpc.dns_min_time_between_resolutions_ms", 5_000),
)


class Connection:
    """One address, with what makes calls of each method."""

    def __init__(self, target: str, proof: Proof | None) -> None:
        self._channel = io.open_channel(target, proof, _OPTIONS)
        self._methods: dict[str, Any] = {}
        self.rests_until = 0.0

    def unary(self, path: str, response: type[Message]) -> Any:
        """Return what makes calls of a method with one request and one response."""
        return self._methods.get(path) or self._method("unary_unary", path, response)

    def server_stream(self, path: str, response: type[Message]) -> Any:
        """Return what makes calls of a method that answers in a stream."""
        return self._methods.get(path) or self._method("unary_stream", path, response)

    def client_stream(self, path: str, response: type[Message]) -> Any:
        """Return what makes calls of a method with many requests and one response."""
        return self._methods.get(path) or self._method("stream_unary", path, response)

    def both_streams(self, path: str, response: type[Message]) -> Any:
        """Return what makes calls of a method with streams both ways."""
        return self._methods.get(path) or self._method("stream_stream", path, response)

    def rest(self) -> None:
        """Pass this address over for a while, where there are others."""
        self.rests_until = io.now() + _REST_SECONDS

    async def close(self) -> None:
        """Close it; calls under way are cancelled."""
        await self._channel.close()

    def _method(self, kind: str, path: str, response: type[Message]) -> Any:
        made = getattr(self._channel, kind)(
            path, request_serializer=_serialized, response_deserializer=response.FromString
        )
        self._methods[path] = made
        return made


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()


class Connections:
    """All addresses of a ledger."""

    def __init__(self, targets: Sequence[str], proof: Proof | None) -> None:
        """Check the addresses and files; nothing is opened before the first call.

        Raises:
            ValueError: there is no address.
            ProofUnusable: a file can't be read, or the files do not go together.
        """
        if not targets or not all(targets):
            raise ValueError("a client needs the address of a ledger, host:port")
        if proof is not None:
            proof.read()
        self._targets = tuple(targets)
        self._proof = proof
        self._open: list[Connection] = []
        self._next = 0
        self.closings = 0
        self._owner: tuple[int, object] | None = None
        self._turns: dict[int, threading.Lock] = {}

    def next(self) -> Connection:
        """Return the connection for a try that begins now.

        Raises:
            RuntimeError: the client is used in another event loop than before.
        """
        owner = (os.getpid(), io.home())
        if owner != self._owner:
            # A lock that another thread had when the process was forked would never be given back.
            with self._turns.setdefault(owner[0], threading.Lock()):
                self._begin(owner)
        if len(self._open) == 1:
            return self._open[0]
        self._next += 1
        count = len(self._open)
        in_turn = [self._open[(self._next + offset) % count] for offset in range(count)]
        now = io.now()
        return next((each for each in in_turn if each.rests_until <= now), in_turn[0])

    async def close(self) -> None:
        """Close all of them; what was under way ends."""
        self.closings += 1
        for each in self._open:
            await each.close()
        self._open, self._owner = [], None

    def _begin(self, owner: tuple[int, object]) -> None:
        """Open them; a process that was forked has its own, since gRPC's can't be shared."""
        if owner == self._owner:
            return  # another thread was faster
        if self._owner is not None and self._owner[0] == owner[0]:
            raise RuntimeError("a client belongs to the event loop in which it was first used")
        self._open = [Connection(target, self._proof) for target in self._targets]
        self._owner = owner
