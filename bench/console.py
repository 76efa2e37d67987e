"""Own the run of the console: what people with live pages cost the ledger of its postings.

Each line is the same load, postings kept in flight and a few withdrawals a second, by turns: without anybody
who looks, with people whose pages are of another ledger on this machine, and with their pages of this one.
What the second takes away is the machine's; the third against it is what the pages cost the ledger itself.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import time
from typing import Final

import grpc
import httpx
from defter.payments.v1.deposit_pb2 import InitiateDepositRequest
from defter.payments.v1.deposit_pb2_grpc import DepositServiceStub
from defter.payments.v1.payment_pb2 import PROVIDER_EVENT_TYPE_PAYMENT_CAPTURED, ProviderEvent
from defter.payments.v1.provider_event_pb2 import IngestProviderEventsRequest
from defter.payments.v1.provider_event_pb2_grpc import ProviderEventServiceStub
from defter.payments.v1.withdrawal_pb2 import RequestWithdrawalRequest
from defter.payments.v1.withdrawal_pb2_grpc import WithdrawalServiceStub
from google.protobuf.timestamp_pb2 import Timestamp

from bench.circumstances import circumstances
from bench.cost import Meters
from bench.ledger import Ledger
from bench.lines import Check, Line, chosen
from bench.load import prove, tell_window
from bench.loads import keep_in_flight
from bench.measure import Meter, Window, run_window
from bench.order import Order, tell
from bench.pages import PASSWORD, PEOPLE, Pages, name_of, signed_in
from bench.payloads import CURRENCY_CODE, TENANT_ID
from bench.report import Report
from bench.results import rows_of
from bench.rounds import run_rounds
from bench.stack import HOST, READY_SECONDS, Served, Stack, running_stack, server_environment, stop, tail
from console.users import User, hashed, write
from tools.free_ports import free_port

IN_FLIGHT: Final = 64
WITHDRAWALS_PER_SECOND: Final = 5
RATE_MIN_RATIO: Final = 0.95
PROVIDER: Final = "pages"
PLAYER: Final = "looked-at"
_FUNDS_MINOR: Final = 10**9
_AMOUNT_MINOR: Final = 100


@dataclass
class Withdrawals:
    """A ledger in which somebody asks for money some times a second, so that pages change."""

    ledger: Ledger
    running: bool = False
    failures: list[str] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    async def fund(self) -> None:
        """Give the player money by a deposit."""
        channel = self.ledger.channel
        deposit = await DepositServiceStub(channel).InitiateDeposit(
            InitiateDepositRequest(
                tenant_id=TENANT_ID,
                idempotency_key="funds",
                player_id=PLAYER,
                provider=PROVIDER,
                amount_minor=_FUNDS_MINOR,
                currency_code=CURRENCY_CODE,
                provider_ref="funds",
            )
        )
        event = ProviderEvent(
            type=PROVIDER_EVENT_TYPE_PAYMENT_CAPTURED,
            provider=PROVIDER,
            event_id="funds",
            payment_id=deposit.deposit.deposit_id,
            provider_amount_minor=_FUNDS_MINOR,
            currency_code=CURRENCY_CODE,
            occur_time=Timestamp(seconds=int(time())),
        )
        await ProviderEventServiceStub(channel).IngestProviderEvents(
            IngestProviderEventsRequest(tenant_id=TENANT_ID, events=[event])
        )
        self.ledger.asked.posted_minor += _FUNDS_MINOR

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Ask for money at a steady pace until the context ends."""
        self.running = True
        task = asyncio.create_task(self._flow())
        try:
            yield
        finally:
            # Not broken off: the books have to have what was asked for.
            self.running = False
            await task

    async def _flow(self) -> None:
        stub = WithdrawalServiceStub(self.ledger.channel)
        while self.running:
            request = RequestWithdrawalRequest(
                tenant_id=TENANT_ID,
                idempotency_key=f"withdrawal-{next(self._numbers)}",
                player_id=PLAYER,
                provider=PROVIDER,
                destination="DE00 0000",
                amount_minor=_AMOUNT_MINOR,
                currency_code=CURRENCY_CODE,
            )
            try:
                await stub.RequestWithdrawal(request)
                self.ledger.asked.placed_minor += _AMOUNT_MINOR
            except grpc.aio.AioRpcError as error:
                self.failures.append(f"a withdrawal failed: {error.code().name}: {error.details()}")
            await asyncio.sleep(1 / WITHDRAWALS_PER_SECOND)


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """A console and the ledger behind it."""

    pages: Pages
    process: asyncio.subprocess.Process
    withdrawals: Withdrawals


@asynccontextmanager
async def running_console(
    stack: Stack, served: Served, users: Path
) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """Run a console of a ledger; yield its address and its process."""
    port = free_port()
    log = stack.folder / f"console-{port}.log"
    settings = {
        "DEFTER_CONSOLE_LEDGER_TARGET": f"{HOST}:{served.port}",
        "DEFTER_CONSOLE_USERS_FILE": str(users),
        "DEFTER_CONSOLE_PORT": str(port),
    }
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            str(stack.defter),
            "console",
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            env=server_environment(settings),
        )
    address = f"http://{HOST}:{port}"
    try:
        await _until_answering(address, process, log)
        yield address, process
    finally:
        await stop(process)


async def _until_answering(address: str, process: asyncio.subprocess.Process, log: Path) -> None:
    try:
        async with asyncio.timeout(READY_SECONDS), httpx.AsyncClient() as http:
            while True:
                if process.returncode is not None:
                    raise SystemExit(f"the console ended at once:\n{tail(log)}")
                with contextlib.suppress(httpx.TransportError):
                    if (await http.get(f"{address}/health")).is_success:
                        return
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise SystemExit(f"the console did not listen in time:\n{tail(log)}") from None


def line(
    name: str, about: str, measured: Looked, served: Served, seen: Looked | None, *checks: Check
) -> Line:
    """Return the line of postings while people look at pages of one of the ledgers, or nobody does."""
    ledger = measured.withdrawals.ledger
    meters = Meters(server=served.process.pid)

    async def run(seconds: float) -> Window:
        async with AsyncExitStack() as around:
            own = meters
            flows = {id(each): each for each in (measured, seen) if each is not None}
            for each in flows.values():
                await around.enter_async_context(each.withdrawals.flowing())
            if seen is not None:
                await seen.pages.look()
                own = replace(meters, clients=(seen.pages.process.pid, seen.process.pid))
            meter = Meter(seconds=seconds, meters=own)
            await run_window(meter, [keep_in_flight([ledger.post()] * IN_FLIGHT, meter)], seconds=seconds)
            ledger.book(meter)
            for each in flows.values():
                for failure in each.withdrawals.failures:
                    meter.failed(failure)
            if seen is None:
                return meter.window()
            found = await seen.pages.seen(meter.opened, meter.closed)
            for failure in found["failures"]:
                meter.failed(failure)
            window = meter.window()
            facts = {"fetches_per_s": found["fetches"] / window.seconds if window.seconds else 0.0}
            if found["p50_seconds"] is not None:
                facts["page_p50_ms"] = 1_000 * found["p50_seconds"]
            return replace(window, facts=facts)

    return Line(name=name, about=about, run=run, checks=checks, server=served.process.pid)


async def measure_console(order: Order) -> Report:
    """Measure the chosen lines."""
    async with AsyncExitStack() as running:
        tell("starting PostgreSQL, two ledgers and a console for each")
        stack = await running.enter_async_context(running_stack(order.database_url, order.defter))
        stack.environment = {
            "DEFTER_PROVIDERS_FILE": str(_providers_file(stack.folder)),
            "BENCH_PROVIDER_KEY": "unused",
        }
        users = stack.folder / "users.toml"
        password = hashed(PASSWORD)
        write(users, [User(name=name_of(number), groups=(), password=password) for number in range(PEOPLE)])
        found: list[tuple[Served, Looked]] = []
        for purpose in ("console", "elsewhere"):
            url = await running.enter_async_context(stack.database(purpose))
            served = await running.enter_async_context(stack.ledger(url))
            ledger = Ledger(served.channel)
            await ledger.prepare()
            withdrawals = Withdrawals(ledger)
            await withdrawals.fund()
            address, process = await running.enter_async_context(running_console(stack, served, users))
            tell(f"signing {PEOPLE} people in")
            pages = await running.enter_async_context(signed_in(address))
            found.append((served, Looked(pages=pages, process=process, withdrawals=withdrawals)))
        (served, own), (_, other) = found
        about = f"PostTransaction, {IN_FLIGHT} in flight, {WITHDRAWALS_PER_SECOND} withdrawals/s"
        lines = chosen(
            [
                line("alone", f"{about}, nobody looks", own, served, None),
                line(
                    "pages-elsewhere",
                    f"{about}; {PEOPLE} live pages of another ledger of this machine",
                    own,
                    served,
                    other,
                    Check(baselines=("alone",)),
                ),
                line(
                    "pages",
                    f"{about}; {PEOPLE} live pages",
                    own,
                    served,
                    own,
                    Check(baselines=("pages-elsewhere",), bound=RATE_MIN_RATIO),
                    Check(baselines=("alone",)),
                ),
            ],
            order.only,
        )
        windows = await run_rounds(lines, order.plan, on_window=tell_window)
        return Report(
            circumstances=await circumstances(stack.server_url, order.plan, windows),
            rows=rows_of(lines, windows),
            proof=await prove(served.channel, own.withdrawals.ledger.asked, verify=order.verify),
            notes={"caveat": _CAVEAT},
        )


_CAVEAT: Final = (
    "The load, both ledgers, PostgreSQL, the consoles and the browsers share this machine's processors: "
    "a ratio to `alone` is what all of that takes away together. Measure on a quiet machine."
)


def _providers_file(folder: Path) -> Path:
    file = folder / "providers.toml"
    file.write_text(
        f'[providers.{PROVIDER}]\nadapter = "mock"\nbase_address = "http://127.0.0.1:9"\n'
        'api_key_env = "BENCH_PROVIDER_KEY"\n',
        encoding="utf-8",
    )
    return file
