"""Own the run of reconciliation: a million records on each side, beside one bare join of the same rows.

It also tells what a run costs those who post to the same tenant meanwhile, and what memory it takes.
"""

import asyncio
import contextlib
import itertools
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from defter.reconciliation.v1.reconciliation_pb2 import (
    RUN_STATE_COMPLETE,
    Run,
    RunReconciliationRequest,
)
from defter.reconciliation.v1.reconciliation_pb2_grpc import ReconciliationServiceStub
from google.protobuf.timestamp_pb2 import Timestamp

from bench.circumstances import circumstances
from bench.cost import Cost, Meters, tree_resident_mib
from bench.ledger import Ledger
from bench.lines import Check, Line, chosen
from bench.load import tell_window
from bench.loads import keep_in_flight
from bench.measure import Meter, Window, run_window
from bench.mirror import PROVIDER, Mirror, write_payments
from bench.order import Order, tell
from bench.payloads import TENANT_ID
from bench.report import Report
from bench.results import rows_of
from bench.rounds import run_rounds
from bench.stack import HOST, Served, connected, running_stack, server_environment, stop
from ledger_server.domain.ids import TenantId, TenantKey, tenant_key
from ledger_server.domain.reconciliation.scope import EDGE
from tools.free_ports import free_port

GROWTH_MAX_MIB = 100.0
SLOWDOWN_MIN_RATIO = 0.85
SPAN = timedelta(days=7)
LOOK_SECONDS = 0.1
# A run notices after its first steps that others post.
SETTLE_SECONDS = 1.0
IN_FLIGHT = 64

# What a run has to find out, in one statement: what one side has and the other has not, or has otherwise.
_JOIN = """
SELECT count(*) FROM
    (SELECT payment_number, amount, currency_code FROM payments WHERE tenant_key = $1 AND provider = $2) AS p
    FULL OUTER JOIN
    (SELECT payment_number, amount, currency_code FROM provider_records
     WHERE tenant_key = $1 AND provider = $2) AS r
    ON p.payment_number = r.payment_number
WHERE p.payment_number IS NULL OR r.payment_number IS NULL
    OR p.amount <> r.amount OR p.currency_code <> r.currency_code
"""


@dataclass(slots=True, kw_only=True)
class Reconciling:
    """One ledger, its provider and the runs over both."""

    served: Served
    mirror: Mirror
    database_url: str
    runs: list[Run] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def run(self) -> Run:
        """Run over everything, to the end."""
        request = RunReconciliationRequest(
            tenant_id=TENANT_ID,
            provider=PROVIDER,
            from_time=_timestamp(self.mirror.begin),
            to_time=_timestamp(self.mirror.begin + self.mirror.span),
            idempotency_key=f"run-{next(self._numbers)}",
        )
        run = Run()
        async for response in ReconciliationServiceStub(self.served.channel).RunReconciliation(request):
            run = response.run
        self.runs.append(run)
        return run

    @property
    def key(self) -> TenantKey:
        """The tenant's key."""
        return tenant_key(TenantId(TENANT_ID))

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[None]:
        """Let runs follow one another meanwhile; the last one ends before this does."""
        more = True

        async def again() -> None:
            while more:
                await self.run()

        running = asyncio.ensure_future(again())
        try:
            yield
        finally:
            more = False
            await running


def run_line(reconciling: Reconciling, postmaster: int | None) -> Line:
    """Return the line of one whole run, with the memory of the server meanwhile."""

    async def run(_: float) -> Window:
        process = reconciling.served.process.pid
        meters = Meters(server=process, database=postmaster)
        idle, before, begun = tree_resident_mib(process), meters.read(), time.perf_counter()
        peak = idle
        running = asyncio.ensure_future(reconciling.run())
        while not running.done():
            peak = max(peak, tree_resident_mib(process))
            await asyncio.sleep(LOOK_SECONDS)
        ended = await running
        window = _window(begun, reconciling.mirror.count, meters.read() - before)
        facts = {"idle_mib": idle, "peak_mib": peak, "growth_mib": peak - idle}
        wrong = _wrong(ended, reconciling.mirror)
        return replace(window, facts=facts, errors=int(bool(wrong)), first_failure=wrong)

    return Line(
        name="run",
        about=f"a run over {reconciling.mirror.count:,} records on each side; peak memory over idle",
        run=run,
        checks=(
            Check(baselines=("join",)),
            Check(fact="growth_mib", unit="MiB", bound=GROWTH_MAX_MIB, at_least=False),
        ),
    )


def join_line(reconciling: Reconciling, postmaster: int | None) -> Line:
    """Return the line of one bare statement that joins the same rows."""

    async def run(_: float) -> Window:
        meters = Meters(server=None, database=postmaster)
        async with connected(reconciling.database_url) as connection:
            before, begun = meters.read(), time.perf_counter()
            different = await connection.fetchval(_JOIN, reconciling.key, PROVIDER)
            window = _window(begun, reconciling.mirror.count, meters.read() - before)
        wrong = f"{different} rows differ" if different else ""
        return replace(window, errors=int(bool(wrong)), first_failure=wrong)

    about = f"one full outer join of {reconciling.mirror.count:,} rows on each side, which are there already"
    return Line(name="join", about=about, run=run)


def post_line(ledger: Ledger, reconciling: Reconciling | None, postmaster: int | None, process: int) -> Line:
    """Return the line of postings to the same tenant, alone or beside runs that follow one another."""

    async def run(seconds: float) -> Window:
        async with reconciling.beside() if reconciling is not None else contextlib.nullcontext():
            if reconciling is not None:
                await asyncio.sleep(SETTLE_SECONDS)
            meter = Meter(seconds=seconds, meters=Meters(server=process, database=postmaster))
            load = keep_in_flight([ledger.post()] * IN_FLIGHT, meter)
            await run_window(meter, [load], seconds=seconds)
        ledger.book(meter)
        return meter.window()

    alone = reconciling is None
    return Line(
        name="post" if alone else "post-beside",
        about=f"unary PostTransaction, {IN_FLIGHT} in flight"
        + ("" if alone else ", while a run is under way"),
        run=run,
        checks=() if alone else (Check(baselines=("post",), bound=SLOWDOWN_MIN_RATIO),),
    )


async def measure_reconciliation(order: Order) -> Report:
    """Measure the chosen lines."""
    mirror = Mirror(count=order.transaction_count, begin=datetime.now(UTC) - SPAN - EDGE, span=SPAN)
    async with AsyncExitStack() as running:
        tell("starting PostgreSQL, the provider and the ledger")
        stack = await running.enter_async_context(running_stack(order.database_url, order.defter))
        listing = await running.enter_async_context(_listing(mirror))
        stack.environment = {
            "DEFTER_PROVIDERS_FILE": str(_providers_file(stack.folder, listing)),
            "BENCH_PROVIDER_KEY": "unused",
        }
        database_url = await running.enter_async_context(stack.database("reconcile"))
        served = await running.enter_async_context(stack.ledger(database_url))
        ledger = Ledger(served.channel)
        await ledger.prepare()
        tell(f"writing {mirror.count:,} payments")
        await write_payments(database_url, mirror)
        reconciling = Reconciling(served=served, mirror=mirror, database_url=database_url)
        tell("running for the first time")
        begun = time.perf_counter()
        first = await reconciling.run()
        seconds = time.perf_counter() - begun
        process = served.process.pid
        lines = chosen(
            [
                join_line(reconciling, stack.postmaster),
                run_line(reconciling, stack.postmaster),
                post_line(ledger, None, stack.postmaster, process),
                post_line(ledger, reconciling, stack.postmaster, process),
            ],
            order.only,
        )
        windows = await run_rounds(lines, order.plan, on_window=tell_window)
        described = await circumstances(stack.server_url, order.plan, windows)
        described["first run"] = f"{seconds:.1f} s, {mirror.count / seconds:,.0f} records/s: all are new then"
        described["op"] = "one record of the provider compared with one payment of the ledger"
        wrong = [text for run in (first, *reconciling.runs) if (text := _wrong(run, mirror))]
        proof = [(not wrong, wrong[0] if wrong else f"{mirror.count:,} matched in each run, nothing found")]
        return Report(circumstances=described, rows=rows_of(lines, windows), proof=proof, notes={})


def _window(begun: float, operations: int, cost: Cost) -> Window:
    return Window(
        seconds=time.perf_counter() - begun,
        operations=operations,
        p50_seconds=None,
        p99_seconds=None,
        cost=cost,
    )


def _wrong(run: Run, mirror: Mirror) -> str:
    """Return what is wrong with how a run has ended."""
    matched = run.state == RUN_STATE_COMPLETE and run.matched_count == mirror.count
    return "" if matched and not run.classes else f"a run ended otherwise: {run}"


@asynccontextmanager
async def _listing(mirror: Mirror) -> AsyncIterator[int]:
    """Run the provider and yield its port."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.listing_server",
        f"--port={port}",
        f"--count={mirror.count}",
        f"--begin={mirror.begin.isoformat()}",
        f"--seconds={mirror.span.total_seconds()}",
        env=server_environment({}),
    )
    try:
        yield port
    finally:
        await stop(process)


def _providers_file(folder: Path, port: int) -> Path:
    file = folder / "providers.toml"
    file.write_text(
        f'[providers.{PROVIDER}]\nadapter = "mock"\nbase_address = "http://{HOST}:{port}"\n'
        'api_key_env = "BENCH_PROVIDER_KEY"\n',
        encoding="utf-8",
    )
    return file


def _timestamp(instant: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(instant)
    return message
