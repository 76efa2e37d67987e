"""Own the run of the webhook edge: nothing but HTTP, everything but the write, and the whole way.

A webhook is signed by the provider's SDK in the load generator, and says that a deposit of its own was
captured whole; for the line `durable` the deposit has been begun at the ledger before the window.
"""

import asyncio
import itertools
import math
from collections import deque
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path

import grpc
from defter.ledger.v1.tenant_pb2 import CreateTenantRequest
from defter.ledger.v1.tenant_pb2_grpc import TenantServiceStub
from defter.payments.v1.deposit_pb2 import InitiateDepositRequest
from defter.payments.v1.deposit_pb2_grpc import DepositServiceStub
from defter.payments.v1.payment_pb2 import PROVIDER_EVENT_STATE_APPLIED
from defter.payments.v1.provider_event_pb2 import ListProviderEventsRequest
from defter.payments.v1.provider_event_pb2_grpc import ProviderEventServiceStub

from bench.circumstances import circumstances
from bench.cost import Meters
from bench.http_connection import Connection, connections
from bench.http_servers import HttpServer, path_of, running_edge, running_empty, secret_of
from bench.lines import Check, Line, chosen
from bench.load import tell_window
from bench.loads import Operation, keep_in_flight
from bench.measure import Meter, Window, run_window
from bench.order import Order, tell
from bench.payloads import AMOUNT_MINOR, CURRENCY_CODE, TENANT_ID
from bench.proof import verify_journal
from bench.report import Report
from bench.results import rows_of
from bench.rounds import run_rounds
from bench.stack import HOST, running_stack
from webhook_edge.sending import Sample, SignedWebhook, signed

SCHEME = "standard"
IN_FLIGHT = 32
PLAYER_COUNT = 1_000
# Deposits are begun before a window, so that it ends by number where a machine is faster than this.
DURABLE_PER_SECOND_MAX = 1_500
RAMP_DEPOSIT_COUNT = 1_000
INITIATES_IN_FLIGHT = 128
PAGE_SIZE = 1_000

Signer = Callable[[], SignedWebhook]


@dataclass(slots=True)
class Deposits:
    """Deposits that were begun at the ledger and are not captured yet."""

    channel: grpc.aio.Channel
    _begun: deque[tuple[str, str]] = field(default_factory=deque)
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def top_up(self, count: int) -> None:
        """Begin as many as are missing."""
        missing = iter(range(count - len(self._begun)))
        stub = DepositServiceStub(self.channel)

        async def begin() -> None:
            for _ in missing:
                number = next(self._numbers)
                request = InitiateDepositRequest(
                    tenant_id=TENANT_ID,
                    idempotency_key=f"deposit-{number}",
                    player_id=str(number % PLAYER_COUNT),
                    provider=SCHEME,
                    amount_minor=AMOUNT_MINOR,
                    currency_code=CURRENCY_CODE,
                    provider_ref=f"pay-{number}",
                )
                response = await stub.InitiateDeposit(request)
                self._begun.append((response.deposit.deposit_id, request.provider_ref))

        await asyncio.gather(*(begin() for _ in range(INITIATES_IN_FLIGHT)))

    def capture(self) -> SignedWebhook:
        """Return the webhook that captures the next of them."""
        return captured(*self._begun.popleft())


def captured(deposit_id: str, payment_ref: str) -> SignedWebhook:
    """Return a signed webhook that says that a deposit was captured, with an event id of its own."""
    sample = Sample(
        type="payment.captured",
        payment_ref=payment_ref,
        reference=deposit_id,
        amount_minor=AMOUNT_MINOR,
        currency=CURRENCY_CODE,
    )
    return signed(SCHEME, sample, secret_of(SCHEME), datetime.now(UTC))


@dataclass(slots=True, kw_only=True)
class Target:
    """One HTTP server, and what is sent to it.

    Attributes:
        taken: webhooks that were answered 200 in all windows, ramps and drains included.
    """

    server: HttpServer
    sign: Signer
    postmaster: int | None = None
    deposits: Deposits | None = None
    taken: int = 0

    def line(self, name: str, about: str, *checks: Check) -> Line:
        """Return a line that keeps webhooks in flight."""

        async def run(seconds: float) -> Window:
            count = math.ceil(seconds * DURABLE_PER_SECOND_MAX)
            if self.deposits is not None:
                await self.deposits.top_up(count + RAMP_DEPOSIT_COUNT + IN_FLIGHT)
            meters = Meters(server=self.server.process.pid, database=self.postmaster)
            bound = {} if self.deposits is None else {"operations_max": count}
            async with connections(self.server.port, IN_FLIGHT) as opened:
                operations = [post(connection, self.sign) for connection in opened]
                meter = Meter(seconds=seconds, meters=meters, **bound)
                await run_window(meter, [keep_in_flight(operations, meter)], seconds=seconds)
            self.taken += meter.succeeded
            return meter.window()

        return Line(name=name, about=about, run=run, checks=checks, server=self.server.process.pid)


def post(connection: Connection, sign: Signer) -> Operation:
    """Return the operation of one webhook on a connection of its own."""

    async def operation(meter: Meter) -> int:
        webhook = sign()
        status, answer = await connection.post(path_of(SCHEME), webhook.headers, webhook.body)
        if status != HTTPStatus.OK:
            meter.refused(f"{status} {answer}")
            return 0
        return 1

    return operation


async def measure_edge(order: Order) -> Report:
    """Measure the chosen lines."""
    async with AsyncExitStack() as running:
        tell("starting PostgreSQL, the ledger, its stub, the edges and the empty server")
        stack = await running.enter_async_context(running_stack(order.database_url, order.defter))
        stack.environment = {
            "DEFTER_PROVIDERS_FILE": str(_providers_file(stack.folder)),
            "BENCH_PROVIDER_KEY": "unused",
        }
        database_url = await running.enter_async_context(stack.database("edge"))
        ledger = await running.enter_async_context(stack.ledger(database_url))
        await TenantServiceStub(ledger.channel).CreateTenant(
            CreateTenantRequest(tenant_id=TENANT_ID, idempotency_key="tenant")
        )
        stub = await running.enter_async_context(stack.stub_ledger())
        empty = await running.enter_async_context(running_empty(stack.folder))
        noop, whole = [
            await running.enter_async_context(
                running_edge(order.defter, stack.folder, ledger_port=behind.port)
            )
            for behind in (stub, ledger)
        ]
        deposits = Deposits(ledger.channel)
        durable = Target(server=whole, sign=deposits.capture, postmaster=stack.postmaster, deposits=deposits)
        lines = chosen(
            [
                Target(server=empty, sign=_unknown).line("empty", f"empty 200, {IN_FLIGHT} in flight"),
                Target(server=noop, sign=_unknown).line(
                    "noop",
                    f"edge before a ledger that answers at once, {IN_FLIGHT} in flight",
                    Check(baselines=("empty",)),
                ),
                durable.line(
                    "durable",
                    f"edge before the ledger, verified and durable, {IN_FLIGHT} in flight",
                    Check(baselines=("noop",)),
                    Check(baselines=("empty",)),
                ),
            ],
            order.only,
        )
        windows = await run_rounds(lines, order.plan, on_window=tell_window)
        described = await circumstances(stack.server_url, order.plan, windows)
        described["server µs/op"] = "the HTTP server alone; the ledger behind it is not in it"
        return Report(
            circumstances=described,
            rows=rows_of(lines, windows),
            proof=await _prove(ledger.channel, durable.taken, verify=order.verify),
            notes={},
        )


_numbers = itertools.count(1)


def _unknown() -> SignedWebhook:
    """Return a webhook of the same form and size for a deposit that nobody looks for."""
    number = next(_numbers)
    return captured(f"dep_{number:026}", f"pay-{number}")


def _providers_file(folder: Path) -> Path:
    """Name the provider account to the ledger; every payment exists there already, so nobody calls it."""
    file = folder / "providers.toml"
    file.write_text(
        f'[providers.{SCHEME}]\nadapter = "mock"\nbase_address = "http://{HOST}:9"\n'
        'api_key_env = "BENCH_PROVIDER_KEY"\n',
        encoding="utf-8",
    )
    return file


async def _prove(channel: grpc.aio.Channel, taken: int, *, verify: bool) -> list[tuple[bool, str]]:
    """Compare what was answered 200 with the events that the ledger has applied."""
    applied, token = 0, ""
    events = ProviderEventServiceStub(channel)
    while True:
        page = await events.ListProviderEvents(
            ListProviderEventsRequest(
                tenant_id=TENANT_ID,
                state=PROVIDER_EVENT_STATE_APPLIED,
                page_size=PAGE_SIZE,
                page_token=token,
            )
        )
        applied += len(page.events)
        token = page.next_page_token
        if not token:
            break
    proof = [
        (applied == taken, f"provider events: {taken:,} answered 200, {applied:,} applied in the ledger")
    ]
    if verify:
        tell("verifying the journal")
        proof.append(await verify_journal(channel, on_progress=lambda _: None))
    return proof
