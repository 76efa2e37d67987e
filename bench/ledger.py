"""Own the calls to one ledger server, and the account of everything that was asked of it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import grpc
from defter.ledger.v1.account_pb2 import (
    BatchGetBalancesResponse,
    GetBalanceResponse,
    ListPostingsResponse,
)
from defter.ledger.v1.account_pb2_grpc import AccountServiceStub
from defter.ledger.v1.hold_pb2 import CaptureHoldResponse, PlaceHoldResponse
from defter.ledger.v1.posting_pb2 import (
    BatchPostTransactionsResponse,
    PostTransactionRequest,
    PostTransactionResponse,
    StreamTransactionsResponse,
)
from defter.ledger.v1.posting_pb2_grpc import PostingServiceStub
from defter.ledger.v1.tenant_pb2 import CreateTenantRequest
from defter.ledger.v1.tenant_pb2_grpc import TenantServiceStub
from google.protobuf.timestamp_pb2 import Timestamp

from bench.loads import Operation, refusals, single
from bench.measure import Meter
from bench.payloads import (
    ACCOUNT_COUNT,
    AMOUNT_MINOR,
    OPENING_MINOR,
    TENANT_ID,
    Payloads,
    fund_accounts,
    open_accounts,
    transfer,
)

_PACKAGE = "defter.ledger.v1"

Response = TypeVar("Response")


@dataclass(slots=True, kw_only=True)
class Asked:
    """What the ledger has said yes to; its books must add up to this (bench.proof)."""

    posted_minor: int = 0
    placed_minor: int = 0
    captured_minor: int = 0


class Ledger:
    """One server with one tenant, as a load generator sees it.

    Requests go out as bytes made beforehand; responses are parsed, as any client must, but looked
    at no further than whether they are a success.
    """

    def __init__(self, channel: grpc.aio.Channel, asked: Asked | None = None) -> None:
        """Talk to a server; another server's `asked` is carried on where both share a database."""
        self.channel = channel
        self.payloads = Payloads.prepare()
        self.asked = asked or Asked()

    async def prepare(self) -> PostTransactionResponse:
        """Create the tenant, open and fund its accounts; return what a posting is answered with.

        Raises:
            RuntimeError: the ledger refused any of it.
        """
        keys = self.payloads.keys
        await TenantServiceStub(self.channel).CreateTenant(
            CreateTenantRequest(tenant_id=TENANT_ID, idempotency_key=keys())
        )
        accounts = AccountServiceStub(self.channel)
        for request in open_accounts(keys):
            opened = await accounts.BatchOpenAccounts(request)
            for result in opened.results:
                if result.HasField("rejection"):
                    raise RuntimeError(f"an account was refused: {result.rejection}")
        posting = PostingServiceStub(self.channel)
        funded = await posting.BatchPostTransactions(fund_accounts(keys))
        for refused in refusals(funded.results):
            raise RuntimeError(f"an opening balance was refused: {refused.rejection}")
        first = await posting.PostTransaction(
            PostTransactionRequest(
                tenant_id=TENANT_ID,
                idempotency_key=keys(),
                transaction=transfer(*self.payloads.pairs[0]),
            )
        )
        self.asked.posted_minor += ACCOUNT_COUNT * OPENING_MINOR + AMOUNT_MINOR
        return first

    def post(self, *, hot: bool = False) -> Operation:
        """Return the operation of one PostTransaction."""
        return single(post_call(self.channel), self.payloads.unary(hot=hot))

    def post_batch(self) -> Operation:
        """Return the operation of one BatchPostTransactions."""
        call: Callable[[bytes], Awaitable[BatchPostTransactionsResponse]] = self._method(
            "PostingService/BatchPostTransactions", BatchPostTransactionsResponse.FromString
        )
        payload = self.payloads.batch()

        async def operation(meter: Meter) -> int:
            response = await call(payload())
            refused = refusals(response.results)
            for result in refused:
                meter.refused(str(result.rejection))
            return len(response.results) - len(refused)

        return operation

    def open_stream(self) -> "grpc.aio.StreamStreamCall[bytes, StreamTransactionsResponse]":
        """Open one StreamTransactions."""
        call: grpc.aio.StreamStreamMultiCallable[bytes, StreamTransactionsResponse] = (
            self.channel.stream_stream(
                f"/{_PACKAGE}.PostingService/StreamTransactions",
                response_deserializer=StreamTransactionsResponse.FromString,
            )
        )
        return call()

    def hold_and_capture(self) -> Operation:
        """Return an operation that by turns places a hold and captures it; not to be shared."""
        place: Callable[[bytes], Awaitable[PlaceHoldResponse]] = self._method(
            "HoldService/PlaceHold", PlaceHoldResponse.FromString
        )
        capture: Callable[[bytes], Awaitable[CaptureHoldResponse]] = self._method(
            "HoldService/CaptureHold", CaptureHoldResponse.FromString
        )
        payload = self.payloads.place_hold()
        placed: list[str] = []
        asked = self.asked

        async def operation(_: Meter) -> int:
            if placed:
                await capture(self.payloads.capture_hold(placed.pop()))
                asked.captured_minor += AMOUNT_MINOR
            else:
                placed.append((await place(payload())).hold.hold_id)
                asked.placed_minor += AMOUNT_MINOR
            return 1

        return operation

    def read_balance(self) -> Operation:
        """Return the operation of one GetBalance."""
        return single(
            self._method("AccountService/GetBalance", GetBalanceResponse.FromString),
            self.payloads.balance(),
        )

    def read_balances(self) -> Operation:
        """Return the operation of one BatchGetBalances."""
        return single(
            self._method("AccountService/BatchGetBalances", BatchGetBalancesResponse.FromString),
            self.payloads.balances(),
        )

    def read_old_balance(self, time: Timestamp) -> Operation:
        """Return the operation of one GetBalance at a time in the past."""
        return single(
            self._method("AccountService/GetBalance", GetBalanceResponse.FromString),
            self.payloads.balance(time),
        )

    def read_statement(self, start_time: Timestamp) -> Operation:
        """Return the operation of one ListPostings: its first page from a time on."""
        return single(
            self._method("AccountService/ListPostings", ListPostingsResponse.FromString),
            self.payloads.statement(start_time),
        )

    def book(self, meter: Meter) -> None:
        """Add all transfers that a window of postings was told had succeeded."""
        self.asked.posted_minor += meter.succeeded * AMOUNT_MINOR

    def _method(
        self, method: str, parse: Callable[[bytes], Response]
    ) -> Callable[[bytes], Awaitable[Response]]:
        return unary_call(self.channel, method, parse)


def post_call(channel: grpc.aio.Channel) -> Callable[[bytes], Awaitable[PostTransactionResponse]]:
    """Return PostTransaction as a call; the echo server has it too."""
    return unary_call(channel, "PostingService/PostTransaction", PostTransactionResponse.FromString)


def unary_call(
    channel: grpc.aio.Channel, method: str, parse: Callable[[bytes], Response]
) -> Callable[[bytes], Awaitable[Response]]:
    """Return one method as a call from request bytes to a parsed response."""
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, Response] = channel.unary_unary(
        f"/{_PACKAGE}.{method}", response_deserializer=parse
    )
    return call
