"""Own the generated stubs on one channel, with typed errors and retries that can't pay twice."""

from collections.abc import Awaitable, Sequence
from types import TracebackType
from typing import Protocol, Self, TypeVar

import grpc
from defter.backfill.v1 import backfill_pb2_grpc
from defter.ledger.v1 import (
    account_pb2_grpc,
    hold_pb2_grpc,
    journal_pb2_grpc,
    posting_pb2_grpc,
    tenant_pb2_grpc,
)
from defter.payments.v1 import (
    deposit_pb2_grpc,
    outbound_pb2_grpc,
    player_pb2_grpc,
    provider_event_pb2_grpc,
    wallet_pb2_grpc,
    withdrawal_pb2_grpc,
)
from defter.reconciliation.v1 import finding_pb2_grpc, reconciliation_pb2_grpc, settlement_pb2_grpc
from google.protobuf.message import Message

from defter_channel import Proof, open_channel
from defter_client.failures import ledger_error
from defter_retrying.backoff import Tries
from defter_retrying.calls import call_until_answered
from defter_tracing import Kind, traces

_Request = TypeVar("_Request", bound=Message)
_Response = TypeVar("_Response", bound=Message)
_Sent_contra = TypeVar("_Sent_contra", bound=Message, contravariant=True)
_Received_co = TypeVar("_Received_co", bound=Message, covariant=True)


class UnaryMethod(Protocol[_Sent_contra, _Received_co]):
    """A method of a generated stub that takes one request and answers it once."""

    def __call__(
        self,
        request: _Sent_contra,
        /,
        *,
        timeout: float | None = None,
        metadata: Sequence[tuple[str, str]] | None = None,
    ) -> Awaitable[_Received_co]:
        """Send a request and await the answer."""


_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 2.0
_OPTIONS = (
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
)


class StubClient:
    """Calls a ledger.

    The services are the generated stubs and can be used directly; `call` adds typed errors and retries::

        async with StubClient("127.0.0.1:50051") as ledger:
            response = await ledger.call(ledger.postings.PostTransaction, request)
    """

    def __init__(self, target: str, *, timeout_seconds: float = 10.0, proof: Proof | None = None) -> None:
        """Prepare a channel; nothing is sent yet.

        Args:
            target: `host:port` of the gRPC server.
            timeout_seconds: for a call with all its retries.
            proof: who calls, to a server with TLS; None is for a server on this machine without it. A token
                that is replaced in its file counts at once, a certificate within seconds.
        Raises:
            ProofUnusable: a file can't be read, or the files do not go together.
        """
        self._timeout_seconds = timeout_seconds
        self._channel = open_channel(target, proof, _OPTIONS)
        self.tenants = tenant_pb2_grpc.TenantServiceStub(self._channel)
        self.accounts = account_pb2_grpc.AccountServiceStub(self._channel)
        self.postings = posting_pb2_grpc.PostingServiceStub(self._channel)
        self.holds = hold_pb2_grpc.HoldServiceStub(self._channel)
        self.journal = journal_pb2_grpc.JournalServiceStub(self._channel)
        self.deposits = deposit_pb2_grpc.DepositServiceStub(self._channel)
        self.withdrawals = withdrawal_pb2_grpc.WithdrawalServiceStub(self._channel)
        self.wallets = wallet_pb2_grpc.WalletServiceStub(self._channel)
        self.provider_events = provider_event_pb2_grpc.ProviderEventServiceStub(self._channel)
        self.players = player_pb2_grpc.PlayerServiceStub(self._channel)
        self.outbound = outbound_pb2_grpc.OutboundServiceStub(self._channel)
        self.reconciliation = reconciliation_pb2_grpc.ReconciliationServiceStub(self._channel)
        self.findings = finding_pb2_grpc.FindingServiceStub(self._channel)
        self.backfill = backfill_pb2_grpc.BackfillServiceStub(self._channel)
        self.settlements = settlement_pb2_grpc.SettlementServiceStub(self._channel)

    async def call(
        self,
        method: UnaryMethod[_Request, _Response],
        request: _Request,
        *,
        timeout: float | None = None,  # noqa: ASYNC109  # it is sent, and bounds all tries
        metadata: Sequence[tuple[str, str]] | None = None,
    ) -> _Response:
        """Make a unary call; while the server is away or asks for it, try again with the same request.

        It is not tried before the server wants it, and never beyond `timeout_seconds`. Retrying is safe
        because every mutation carries its idempotency key, or has no other effect when it is made twice.

        Args:
            method: of one of the services, as `ledger.postings.PostTransaction`; it takes a request of its
                own type and no other, which a type checker says.
            timeout: seconds for this call with all its retries; the client's own where it is not given.
            metadata: is sent along with each try.
        Raises:
            LedgerError: the ledger refused, or there is no time for another try (`retryable`, or
                DEADLINE_EXCEEDED).
                Then, and after INTERNAL, one of the tries may have taken effect: call again with the same
                key, or ask `GetOutcome`.
        """
        tries = Tries(
            self._timeout_seconds if timeout is None else timeout,
            first_seconds=_FIRST_PAUSE_SECONDS,
            longest_seconds=_LONGEST_PAUSE_SECONDS,
        )
        made = traces()
        try:
            if made is None:
                return await call_until_answered(
                    lambda left_seconds: method(request, timeout=left_seconds, metadata=metadata), tries
                )
            name = type(request).__name__.removesuffix("Request")
            with made.span(name, Kind.CLIENT, attributes={"rpc.system.name": "grpc"}) as span:
                sent = (*(metadata or ()), *made.outgoing())
                try:
                    return await call_until_answered(
                        lambda left_seconds: method(request, timeout=left_seconds, metadata=sent), tries
                    )
                except grpc.aio.AioRpcError as error:
                    span.fail(error.code().name)
                    raise
        except grpc.aio.AioRpcError as error:
            raise ledger_error(error) from None

    async def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the channel."""
        await self.close()
