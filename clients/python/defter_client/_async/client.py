"""Own the client: all services of a ledger, the watch, and the stream of transactions."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from types import TracebackType
from typing import Self

from defter.ledger.v1 import posting_pb2

from defter_channel import Proof
from defter_client._async.calls import Caller
from defter_client._async.connections import Connections
from defter_client._async.services import Services
from defter_client._async.transactions import TransactionStream
from defter_client._async.watching import Watch
from defter_client.checkpoint import Checkpoint

_HEARTBEAT_SECONDS = 10


class LedgerClient(Services):
    """Calls a ledger.

    Each service is an attribute with a method for each RPC; docs/clients.md says what all of them do::

        async with LedgerClient("127.0.0.1:50051", tenant="casino") as ledger:
            answer = await ledger.postings.post_transaction(request, key="bet-17")
    """

    def __init__(
        self,
        target: str | Sequence[str],
        *,
        tenant: str = "",
        timeout_seconds: float = 10.0,
        proof: Proof | None = None,
    ) -> None:
        """Open nothing yet.

        Args:
            target: `host:port` of the ledger, or several, which are used in turn.
            tenant: stands in where a request names none.
            timeout_seconds: for a call with all its tries.
            proof: who calls, to a server with TLS; None is for a server on this machine without it. A token
                that is replaced in its file counts at once, a certificate within seconds.
        Raises:
            ProofUnusable: a file can't be read, or the files do not go together.
        """
        self._connections = Connections([target] if isinstance(target, str) else target, proof)
        self._tenant = tenant
        self._timeout_seconds = timeout_seconds
        self._caller = Caller(self._connections, tenant=tenant, timeout_seconds=timeout_seconds)
        super().__init__(self._caller)

    def watch(
        self,
        after: Checkpoint | int | str = 0,
        *,
        tenant_id: str = "",
        verify: bool = False,
        heartbeat_seconds: int = _HEARTBEAT_SECONDS,
        on_break: Callable[[Exception], None] | None = None,
    ) -> Watch:
        """Return the records of a journal behind a place, without end; iterate over it.

        Broken connections and servers that go are looked after. Store `watch.checkpoint` together with what
        you have made of a record: a watch that begins there goes on without a gap or a repetition.

        Args:
            after: a checkpoint or its text, or a sequence; records up to it are not delivered.
            tenant_id: whose journal; the client's tenant where it is not given.
            verify: whether each record's chain hash is checked. Behind a bare sequence the first one is not.
            heartbeat_seconds: how often the server says that it is there, 1 to 300.
            on_break: is told why a connection was given up, each time.
        Raises:
            ValueError: it is no checkpoint.
        """
        return Watch(
            self._caller,
            tenant_id or self._tenant,
            _checkpoint(after),
            verify=verify,
            heartbeat_seconds=heartbeat_seconds,
            on_break=on_break,
        )

    def stream_transactions(
        self,
        items: AsyncIterable[posting_pb2.PostTransactionItem] | Iterable[posting_pb2.PostTransactionItem],
        *,
        tenant_id: str = "",
        timeout_seconds: float | None = None,
    ) -> AsyncIterator[posting_pb2.PostTransactionResult]:
        """Post transactions as they come; yield a result for each, in order, also across broken connections.

        Args:
            items: those without a key get one, which stands in the result. At most 1,000 are taken ahead of
                results.
            tenant_id: the client's tenant where it is not given.
            timeout_seconds: for how long nothing may come through while it is tried again and again.
        Raises:
            LedgerError: while results are read: the stream was refused, or it could not be resumed in time.
        """
        seconds = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        return TransactionStream(self._caller, tenant_id or self._tenant, items, seconds).results()

    async def close(self) -> None:
        """Close the connections; calls under way are cancelled, and watches end."""
        await self._connections.close()

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self.close()


def _checkpoint(after: Checkpoint | int | str) -> Checkpoint:
    if isinstance(after, Checkpoint):
        return after
    if isinstance(after, str):
        return Checkpoint.parse(after)
    return Checkpoint(after, b"") if after else Checkpoint()
