"""Owns the sending of requests: one that could have an effect leaves only with a proof that it may.

A process may stand still at any await, for any time: in a name look-up, a handshake, or a wait for a pooled
connection. So the proof is asked for once the connection is there, and checked again at the write of each
piece of the request, without an await in between. A request whose last piece was never written was not made.
"""
# ruff: noqa: ASYNC109  # the signatures are those of httpcore

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, Protocol

import httpcore
import httpx

from defter_tracing import traces

_READS: Final = frozenset({"GET", "HEAD"})
_MAX_ANSWER_BYTES: Final = 2**18
_AT_ONCE: Final = struct.pack("ii", 1, 0)


class Unproven(Exception):
    """The request may not be sent; the text says why."""


class Proof(Protocol):
    """The proof that a request may leave."""

    async def ask(self) -> None:
        """Ask whether the request may leave.

        Raises:
            Unproven: the request may not leave, or nobody can say.
        """

    def check(self) -> None:
        """Check that the last answer is still valid; nothing is awaited.

        Raises:
            Unproven: too much time has passed since the question, on a clock that never stops.
        """


@dataclass(slots=True)
class Sending:
    """One call on its way.

    Attributes:
        begun: whether any byte was written, so that the call may have taken effect.
        refused: why the call was not sent, or not to its end; empty if it was not refused.
    """

    proof: Proof
    begun: bool = False
    refused: str = ""

    async def before_write(self) -> None:
        """Prove that the first piece may leave; raises `Unproven`."""
        if not self.begun:
            try:
                await self.proof.ask()
            except Unproven as error:
                self.refused = str(error)
                raise

    def at_write(self) -> None:
        """Prove that the next piece may leave now; raises `Unproven`."""
        try:
            self.proof.check()
        except Unproven as error:
            self.refused = str(error)
            raise
        self.begun = True


# A context variable, since the vendors' libraries stand between the adapter and the connection.
_sending: ContextVar[Sending | None] = ContextVar("sending", default=None)


@contextmanager
def sending(proof: Proof) -> Iterator[Sending]:
    """Let requests of this task leave while a proof holds."""
    started = Sending(proof)
    token = _sending.set(started)
    try:
        yield started
    finally:
        _sending.reset(token)


def http_client(*, timeout_seconds: float, **options: Any) -> httpx.AsyncClient:
    """Make a client that never repeats a request by itself, and sends only reads without a proof.

    Args:
        options: more of `httpx.AsyncClient`.
    """
    client = httpx.AsyncClient(
        timeout=timeout_seconds,
        follow_redirects=False,
        event_hooks={"request": [_demand_proof]},
        **options,
    )
    # httpx has no parameter for its network, and with a transport of our own it would ignore configured
    # proxies.
    for transport in (client._transport, *client._mounts.values()):  # noqa: SLF001
        if transport is not None:
            transport._pool._network_backend = _Network()  # type: ignore[attr-defined]  # noqa: SLF001
    return client


async def _demand_proof(request: httpx.Request) -> None:
    if request.method not in _READS and _sending.get() is None:
        raise Unproven("nobody has proven that this request may leave")
    made = traces()
    if made is not None:
        request.headers.update(made.outgoing())


class _Stream(httpcore.AsyncNetworkStream):
    """A connection that proves its writes; on asyncio's transport, since others await before they write."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, under: "_Stream | None" = None
    ) -> None:
        self._reader = reader
        self._writer = writer
        # A garbage-collected writer would close its connection, which goes on below TLS.
        self._under = under

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            async with asyncio.timeout(timeout):
                return await self._reader.read(max_bytes)
        except TimeoutError as error:
            raise httpcore.ReadTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if not buffer:
            return
        call = _sending.get()
        if call is not None:
            await call.before_write()
            if self._writer.transport.get_write_buffer_size():
                # Buffered bytes would leave later, at a time that nobody checks.
                call.refused = "the connection does not take what is written"
                raise Unproven(call.refused)
            call.at_write()
        # Nothing is awaited between the check and this: the transport writes to the socket at once.
        self._writer.write(buffer)
        try:
            async with asyncio.timeout(timeout):
                await self._writer.drain()
        except TimeoutError as error:
            raise httpcore.WriteTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    async def aclose(self) -> None:
        # Bytes that the other side has not taken must not be delivered after the call was given up.
        found = self._writer.get_extra_info("socket")
        if found is not None and not self._writer.is_closing():
            with _ignoring_a_lost_socket():
                found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self._writer.transport.abort()

    async def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_MAX_ANSWER_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            async with _connecting(timeout):
                transport = await loop.start_tls(
                    self._writer.transport, protocol, ssl_context, server_hostname=server_hostname
                )
        except BaseException:
            await self.aclose()
            raise
        if transport is None:
            raise httpcore.ConnectError("the connection was lost")
        protocol.connection_made(transport)
        return _Stream(reader, asyncio.StreamWriter(transport, protocol, reader, loop), self)

    def get_extra_info(self, info: str) -> Any:
        match info:
            case "ssl_object":
                return self._writer.get_extra_info("ssl_object")
            case "client_addr":
                return self._writer.get_extra_info("sockname")
            case "server_addr":
                return self._writer.get_extra_info("peername")
            case "socket":
                return self._writer.get_extra_info("socket")
            case "is_readable":
                # asyncio reads ahead, so an idle connection that has ended or broken shows it here.
                ended = self._reader.at_eof() or self._reader.exception() is not None
                return ended or self._writer.is_closing()
            case _:
                return None


class _Network(httpcore.AsyncNetworkBackend):
    """Opens connections."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        async with _connecting(timeout):
            reader, writer = await asyncio.open_connection(
                host,
                port,
                limit=_MAX_ANSWER_BYTES,
                local_addr=(local_address, 0) if local_address else None,
            )
        for option in socket_options or ():
            writer.get_extra_info("socket").setsockopt(*option)
        return _Stream(reader, writer)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@asynccontextmanager
async def _connecting(timeout: float | None) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(timeout):
            yield
    except TimeoutError as error:
        raise httpcore.ConnectTimeout(str(error)) from error
    except OSError as error:
        raise httpcore.ConnectError(str(error)) from error


@contextmanager
def _ignoring_a_lost_socket() -> Iterator[None]:
    try:
        yield
    except OSError:
        return
