"""Own the client's view of the wire: stubs, refusals with their details, replay marks."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import grpc
import pytest
from defter.identity.v1.access_pb2_grpc import AccessServiceStub
from defter.ledger.v1.account_pb2_grpc import AccountServiceStub
from defter.ledger.v1.adjustment_pb2_grpc import AdjustmentServiceStub
from defter.ledger.v1.hold_pb2_grpc import HoldServiceStub
from defter.ledger.v1.journal_pb2_grpc import JournalServiceStub
from defter.ledger.v1.posting_pb2_grpc import PostingServiceStub
from defter.ledger.v1.tenant_pb2_grpc import TenantServiceStub
from defter.payments.v1.deposit_pb2_grpc import DepositServiceStub
from defter.payments.v1.outbound_pb2_grpc import OutboundServiceStub
from defter.payments.v1.player_pb2_grpc import PlayerServiceStub
from defter.payments.v1.provider_event_pb2_grpc import ProviderEventServiceStub
from defter.payments.v1.wallet_pb2_grpc import WalletServiceStub
from defter.payments.v1.withdrawal_pb2_grpc import WithdrawalServiceStub
from defter.reconciliation.v1.finding_pb2_grpc import FindingServiceStub
from defter.reconciliation.v1.reconciliation_pb2_grpc import ReconciliationServiceStub
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

if TYPE_CHECKING:
    from defter.identity.v1.access_pb2_grpc import AccessServiceAsyncStub
    from defter.ledger.v1.account_pb2_grpc import AccountServiceAsyncStub
    from defter.ledger.v1.adjustment_pb2_grpc import AdjustmentServiceAsyncStub
    from defter.ledger.v1.hold_pb2_grpc import HoldServiceAsyncStub
    from defter.ledger.v1.journal_pb2_grpc import JournalServiceAsyncStub
    from defter.ledger.v1.posting_pb2_grpc import PostingServiceAsyncStub
    from defter.ledger.v1.tenant_pb2_grpc import TenantServiceAsyncStub
    from defter.payments.v1.deposit_pb2_grpc import DepositServiceAsyncStub
    from defter.payments.v1.outbound_pb2_grpc import OutboundServiceAsyncStub
    from defter.payments.v1.player_pb2_grpc import PlayerServiceAsyncStub
    from defter.payments.v1.provider_event_pb2_grpc import ProviderEventServiceAsyncStub
    from defter.payments.v1.wallet_pb2_grpc import WalletServiceAsyncStub
    from defter.payments.v1.withdrawal_pb2_grpc import WithdrawalServiceAsyncStub
    from defter.reconciliation.v1.finding_pb2_grpc import FindingServiceAsyncStub
    from defter.reconciliation.v1.reconciliation_pb2_grpc import ReconciliationServiceAsyncStub

REPLAYED = ("idempotent-replayed", "true")
MIB = 1024 * 1024
# The size that a client accepts is left at gRPC's default, so that every answer must fit into it.
CHANNEL_OPTIONS = (
    # Larger than what the server accepts, so that the server is the one to refuse.
    ("grpc.max_send_message_length", -1),
    # A server that is back is found at once; by default gRPC would wait longer with every try. How long one
    # try to connect may take is left as gRPC has it (`min_reconnect_backoff_ms`, 20 s): a busy machine needs
    # time.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 100),
)

ResponseT = TypeVar("ResponseT", bound=Message)


def open_channel(port: int) -> grpc.aio.Channel:
    """Return a channel of its own connection to a server on this machine."""
    private_connection = ("grpc.use_local_subchannel_pool", 1)
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[*CHANNEL_OPTIONS, private_connection])


@dataclass(frozen=True)
class Stubs:
    """The services over one channel."""

    tenants: TenantServiceAsyncStub
    accounts: AccountServiceAsyncStub
    postings: PostingServiceAsyncStub
    adjustments: AdjustmentServiceAsyncStub
    holds: HoldServiceAsyncStub
    journal: JournalServiceAsyncStub
    deposits: DepositServiceAsyncStub
    withdrawals: WithdrawalServiceAsyncStub
    wallets: WalletServiceAsyncStub
    events: ProviderEventServiceAsyncStub
    players: PlayerServiceAsyncStub
    outbound: OutboundServiceAsyncStub
    findings: FindingServiceAsyncStub
    reconciliation: ReconciliationServiceAsyncStub
    access: AccessServiceAsyncStub

    @classmethod
    def over(cls, channel: grpc.aio.Channel) -> Stubs:
        """Return the stubs of a channel."""
        return cls(
            tenants=TenantServiceStub(channel),
            accounts=AccountServiceStub(channel),
            postings=PostingServiceStub(channel),
            adjustments=AdjustmentServiceStub(channel),
            holds=HoldServiceStub(channel),
            journal=JournalServiceStub(channel),
            deposits=DepositServiceStub(channel),
            withdrawals=WithdrawalServiceStub(channel),
            wallets=WalletServiceStub(channel),
            events=ProviderEventServiceStub(channel),
            players=PlayerServiceStub(channel),
            outbound=OutboundServiceStub(channel),
            findings=FindingServiceStub(channel),
            reconciliation=ReconciliationServiceStub(channel),
            access=AccessServiceStub(channel),
        )


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """An error as a caller sees it."""

    code: grpc.StatusCode
    reason: str
    domain: str
    message: str
    metadata: dict[str, str]
    replayed: bool
    retry_delay_seconds: float | None
    violated_fields: tuple[str, ...]


@dataclass(frozen=True)
class Replied(Generic[ResponseT]):
    """A success with what its trailing metadata says."""

    response: ResponseT
    replayed: bool


def read_refusal(error: grpc.aio.AioRpcError) -> Refusal:
    """Return what an error carries; a status without details has an empty reason."""
    info = error_details_pb2.ErrorInfo()
    retry = error_details_pb2.RetryInfo()
    bad_request = error_details_pb2.BadRequest()
    # An AioRpcError has everything that from_call reads of a call, though not the type.
    status = rpc_status.from_call(cast("grpc.Call", error))
    for detail in status.details if status is not None else ():
        for known in (info, retry, bad_request):
            if detail.Is(known.DESCRIPTOR):
                detail.Unpack(known)
    delay = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    return Refusal(
        code=error.code(),
        reason=info.reason,
        domain=info.domain,
        message=error.details() or "",
        metadata=dict(info.metadata),
        replayed=REPLAYED in tuple(error.trailing_metadata() or ()),
        retry_delay_seconds=delay if retry.HasField("retry_delay") else None,
        violated_fields=tuple(violation.field for violation in bad_request.field_violations),
    )


def raw_unary(channel: grpc.aio.Channel, method: str) -> grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]:
    """Return a way to send any bytes to a unary RPC, such as `PostingService/PostTransaction`."""
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/defter.ledger.v1.{method}")
    return call


def raw_stream(channel: grpc.aio.Channel, method: str) -> grpc.aio.StreamStreamMultiCallable[bytes, bytes]:
    """Return a way to send any bytes to an RPC that streams both ways."""
    call: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
        f"/defter.ledger.v1.{method}"
    )
    return call


async def refusal(call: Awaitable[object]) -> Refusal:
    """Await a call that must be refused and return its refusal."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return read_refusal(caught.value)


async def reply(call: grpc.aio.UnaryUnaryCall[Any, ResponseT]) -> Replied[ResponseT]:
    """Await a call that must succeed and say whether the server marked it as replayed."""
    response = await call
    trailing = await call.trailing_metadata()
    return Replied(response, replayed=REPLAYED in tuple(trailing or ()))
