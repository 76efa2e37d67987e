"""Own the run of fairness: what a quiet tenant notices of another one that is at full tilt.

Each line is the same load, 50 postings a second of the quiet tenant, alone or beside something; the line has
its latencies. Further numbers: how often the other one was served or refused, and how long the slowest health
check took.
"""

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, time

import grpc
from defter.ledger.v1.journal_pb2 import VerifyJournalRequest, WatchJournalRequest
from defter.ledger.v1.journal_pb2_grpc import JournalServiceStub
from defter.ledger.v1.posting_pb2 import ListTransactionsRequest
from defter.ledger.v1.posting_pb2_grpc import PostingServiceStub
from defter.payments.v1.payment_pb2 import ProviderEvent
from defter.payments.v1.provider_event_pb2 import IngestProviderEventsRequest
from defter.payments.v1.provider_event_pb2_grpc import ProviderEventServiceStub
from defter.reconciliation.v1.settlement_pb2 import (
    REPORT_FORMAT_STRIPE_PAYOUT_RECONCILIATION,
    ImportSettlementReportRequest,
)
from defter.reconciliation.v1.settlement_pb2_grpc import SettlementServiceStub
from google.protobuf.timestamp_pb2 import Timestamp

from bench.circumstances import circumstances
from bench.cost import Meters, tree_resident_mib
from bench.ledger import Ledger
from bench.lines import Check, Line, chosen
from bench.load import tell_window
from bench.loads import keep_in_flight, pipeline
from bench.measure import Meter, Window, percentile
from bench.order import Order, tell
from bench.payloads import BATCH_SIZE, TENANT_ID
from bench.quiet import prepare, seen_by_quiet
from bench.report import Report
from bench.results import rows_of
from bench.rounds import run_rounds
from bench.stack import Served, running_stack
from defter_retrying.calls import retry_delay

SLOWDOWN_MAX_RATIO = 2.0
HEALTH_MAX_MS = 1_000.0
PROVIDER = "fair"
CALLS_IN_FLIGHT = 256
BATCHES_IN_FLIGHT = 16
STREAM_COUNT = 4
VERIFICATIONS = 16
LISTS = 50
WATCHERS = 400
LARGE_CALLS = 80
LARGE_EVENTS = 5
LARGE_EVENT_BYTES = 600 * 1024
REPORT_LINES = 20_000
# Loads that are measured a second time beside the server instead of on it.
SHARED_MACHINE = ("calls", "batches", "large")
ELSEWHERE = "-elsewhere"
CHUNK_BYTES = 256 * 1024
# A load is at full depth by then.
SETTLE_SECONDS = 1.0
_FAILURE_PAUSE_SECONDS = 0.01
_COLUMNS = (
    "balance_transaction_id,created_utc,currency,gross,fee,net,reporting_category,source_id,"
    "automatic_payout_id,payment_intent_id"
)

Load = Callable[[], Awaitable[object]]
"""Does one thing of the tenant that is at full tilt."""


@dataclass
class Flood:
    """What the tenant at full tilt does, and how often it was served or refused."""

    ledger: Ledger
    served: int = 0
    refused: int = 0
    running: bool = True
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self._post, self._post_batch = self.ledger.post(), self.ledger.post_batch()
        self._meter = Meter(seconds=float("inf"), meters=Meters())

    async def again(self, load: Load) -> None:
        """Do one thing over and over; what is refused comes again as soon as it may."""
        while self.running:
            try:
                await load()
                self.served += 1
            except grpc.aio.AioRpcError as error:
                self.refused += 1
                await asyncio.sleep(retry_delay(error) or _FAILURE_PAUSE_SECONDS)

    async def post(self) -> None:
        """Post one transaction."""
        await self._post(self._meter)

    async def post_batch(self) -> None:
        """Post a batch of transactions."""
        await self._post_batch(self._meter)

    async def verify(self) -> None:
        """Verify the whole journal."""
        async for _ in JournalServiceStub(self.ledger.channel).VerifyJournal(
            VerifyJournalRequest(tenant_id=TENANT_ID)
        ):
            pass

    async def list_all(self) -> None:
        """List transactions in pages as large as they may be."""
        request = ListTransactionsRequest(tenant_id=TENANT_ID, page_size=1_000)
        while self.running:
            page = await PostingServiceStub(self.ledger.channel).ListTransactions(request)
            self.served += 1
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return

    async def watch_unread(self) -> None:
        """Open a watch from the beginning and read nothing of it."""
        call = JournalServiceStub(self.ledger.channel).WatchJournal(
            WatchJournalRequest(tenant_id=TENANT_ID, after_sequence=next(self._numbers) % 1_000)
        )
        try:
            await call.initial_metadata()
            await call.code()  # of a stream that nobody reads this comes when the server drops it
        finally:
            call.cancel()

    async def ingest(self) -> None:
        """Hand over 3 MB of events."""
        number = next(self._numbers)
        now = int(perf_counter() * 1e6)
        await ProviderEventServiceStub(self.ledger.channel).IngestProviderEvents(
            IngestProviderEventsRequest(
                tenant_id=TENANT_ID,
                events=[
                    ProviderEvent(
                        provider=PROVIDER,
                        event_id=f"{now}-{number}-{each}",
                        occur_time=Timestamp(seconds=int(time())),
                        payload=os.urandom(LARGE_EVENT_BYTES),
                    )
                    for each in range(LARGE_EVENTS)
                ],
            )
        )

    async def import_report(self) -> None:
        """Import a settlement report that was never seen before."""
        name = f"{int(perf_counter() * 1e6)}-{next(self._numbers)}"
        rows = [
            f"txn_{name}-{number},2030-01-01 00:00:00,eur,1.00,0.00,1.00,charge,ch_{name}-{number},po_{name},"
            for number in range(REPORT_LINES)
        ]
        data = "\n".join([_COLUMNS, *rows, ""]).encode()
        header = ImportSettlementReportRequest.Header(
            tenant_id=TENANT_ID, provider=PROVIDER, format=REPORT_FORMAT_STRIPE_PAYOUT_RECONCILIATION
        )

        async def parts() -> AsyncIterator[ImportSettlementReportRequest]:
            yield ImportSettlementReportRequest(header=header)
            for start in range(0, len(data), CHUNK_BYTES):
                yield ImportSettlementReportRequest(chunk=data[start : start + CHUNK_BYTES])

        await SettlementServiceStub(self.ledger.channel).ImportSettlementReport(parts())


Beside = Callable[[Flood], AsyncIterator[None]]


def _loads(count: int, load: Callable[[Flood], Load]) -> Beside:
    """Return a load of so many callers, each of whom does the same over and over."""

    async def beside(flood: Flood) -> AsyncIterator[None]:
        tasks = [asyncio.ensure_future(flood.again(load(flood))) for _ in range(count)]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    return beside


async def _streams(flood: Flood) -> AsyncIterator[None]:
    """Post by streams, as fast as the server takes it."""
    meter = Meter(seconds=float("inf"), meters=Meters())
    payload = flood.ledger.payloads.stream()
    loads = [
        asyncio.ensure_future(
            pipeline(flood.ledger.open_stream, payload, meter, unanswered_max=CALLS_IN_FLIGHT)
        )
        for _ in range(STREAM_COUNT)
    ]
    yield
    flood.served = meter.succeeded
    meter.running = False
    await asyncio.gather(*loads)


def _all_beside() -> dict[str, tuple[str, Beside | None]]:
    return {
        "alone": ("alone", None),
        "calls": (
            f"beside {CALLS_IN_FLIGHT} PostTransaction in flight",
            _loads(CALLS_IN_FLIGHT, lambda flood: flood.post),
        ),
        "batches": (
            f"beside {BATCHES_IN_FLIGHT} batches of {BATCH_SIZE:,} in flight",
            _loads(BATCHES_IN_FLIGHT, lambda flood: flood.post_batch),
        ),
        "streams": (
            f"beside {STREAM_COUNT} StreamTransactions, {CALLS_IN_FLIGHT} unanswered each",
            _streams,
        ),
        "verify": (
            f"beside {VERIFICATIONS} VerifyJournal",
            _loads(VERIFICATIONS, lambda flood: flood.verify),
        ),
        "lists": (f"beside {LISTS} ListTransactions of 1,000", _loads(LISTS, lambda flood: flood.list_all)),
        "import": (f"beside imports of {REPORT_LINES:,} lines", _loads(1, lambda flood: flood.import_report)),
        "watchers": (
            f"beside {WATCHERS} watchers that read nothing",
            _loads(WATCHERS, lambda flood: flood.watch_unread),
        ),
        "large": (
            f"beside {LARGE_CALLS} IngestProviderEvents of 3 MB in flight",
            _loads(LARGE_CALLS, lambda flood: flood.ingest),
        ),
    }


def line(name: str, about: str, beside: Beside | None, served: Served, ledger: Ledger) -> Line:
    """Return the line of the quiet tenant beside one load."""

    async def run(seconds: float) -> Window:
        flood = Flood(ledger)
        meters = Meters(server=served.process.pid)
        around = asynccontextmanager(beside)(flood) if beside is not None else contextlib.nullcontext()
        async with around:
            await asyncio.sleep(SETTLE_SECONDS)
            before, begun, flood.served = meters.read(), perf_counter(), 0
            seen = await seen_by_quiet(served.port, seconds)
            cost, lasted = meters.read() - before, perf_counter() - begun
            memory = tree_resident_mib(served.process.pid)
            flood.running = False
        facts = {"health_ms": 1_000 * seen["health_seconds"], "memory_mib": memory}
        if beside is not None:
            facts |= {"beside_per_s": flood.served / lasted, "refused_per_s": flood.refused / lasted}
        return Window(
            seconds=seconds,
            operations=len(seen["latencies"]),
            p50_seconds=percentile(seen["latencies"], 50),
            p99_seconds=percentile(seen["latencies"], 99),
            cost=cost,
            errors=len(seen["failures"]),
            first_failure=next(iter(seen["failures"]), ""),
            facts=facts,
        )

    if name.endswith(ELSEWHERE):
        about = f"{about}, which another server of this machine serves"
    health = Check(fact="health_ms", unit="ms", bound=HEALTH_MAX_MS, at_least=False)
    checks = [Check(quantity="p50", baselines=("alone",), at_least=False)]
    checks += [Check(quantity="p99", baselines=("alone",), bound=SLOWDOWN_MAX_RATIO, at_least=False), health]
    if name in SHARED_MACHINE:
        # The load takes processors and the disk away too, which no server can share out.
        checks += [Check(quantity=each, baselines=(name + ELSEWHERE,)) for each in ("p50", "p99")]
    return Line(
        name=name,
        about=f"50 PostTransaction a second of a quiet tenant, {about}",
        run=run,
        checks=() if beside is None or name.endswith(ELSEWHERE) else tuple(checks),
        server=served.process.pid,
    )


async def measure_fairness(order: Order) -> Report:
    """Measure the chosen lines."""
    async with AsyncExitStack() as running:
        tell("starting PostgreSQL and the ledger")
        stack = await running.enter_async_context(running_stack(order.database_url, order.defter))
        stack.environment = {
            "DEFTER_PROVIDERS_FILE": str(_providers_file(stack.folder)),
            "BENCH_PROVIDER_KEY": "unused",
        }
        database_url = await running.enter_async_context(stack.database("fairness"))
        served = await running.enter_async_context(stack.ledger(database_url))
        ledger = Ledger(served.channel)
        await ledger.prepare()
        await prepare(served.channel)
        other = await running.enter_async_context(
            stack.ledger(await running.enter_async_context(stack.database("elsewhere")))
        )
        elsewhere = Ledger(other.channel)
        await elsewhere.prepare()
        tell(f"posting {order.transaction_count:,} transactions")
        meter = Meter(
            seconds=float("inf"), meters=Meters(), ramp_seconds=0, operations_max=order.transaction_count
        )
        await keep_in_flight([ledger.post_batch()] * 2, meter)
        lines = chosen(
            [
                line(name + where, about, beside, served, flooded)
                for name, (about, beside) in _all_beside().items()
                for where, flooded in ((ELSEWHERE, elsewhere), ("", ledger))
                if not where or name in SHARED_MACHINE
            ],
            order.only,
        )
        windows = await run_rounds(lines, order.plan, on_window=tell_window)
        return Report(
            circumstances=await circumstances(stack.server_url, order.plan, windows),
            rows=rows_of(lines, windows),
            proof=[],
            notes={},
        )


def _providers_file(folder: Path) -> Path:
    file = folder / "providers.toml"
    file.write_text(
        f'[providers.{PROVIDER}]\nadapter = "mock"\nbase_address = "http://127.0.0.1:9"\n'
        'api_key_env = "BENCH_PROVIDER_KEY"\n',
        encoding="utf-8",
    )
    return file
