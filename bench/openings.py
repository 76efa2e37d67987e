"""Own the import of opening balances: a million lines from a file to the journal, by the command.

It also tells what memory the server and the command take, and that a second run posts nothing.
"""

import asyncio
import json
import random
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from bench.circumstances import circumstances
from bench.cost import MEBIBYTE, Meters, tree_resident_mib
from bench.ledger import Ledger
from bench.lines import Check, Line, chosen
from bench.load import tell_window
from bench.measure import Window
from bench.order import Order, tell
from bench.payloads import TENANT_ID
from bench.proof import verify_journal
from bench.report import Report
from bench.results import rows_of
from bench.rounds import run_rounds
from bench.stack import HOST, Served, Stack, running_stack, server_environment

GROWTH_MAX_MIB = 50.0
RATE_MIN = 15_000.0
WARM_UP_LINES = 50_000
CURRENCIES = ("EUR", "TRY", "USD", "GBP")
LOOK_SECONDS = 0.1
# The command has loaded its modules by then.
BEGUN_SECONDS = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Legacy:
    """A file of a legacy system, and what it adds up to, in minor units by currency."""

    file: Path
    count: int
    sums: dict[str, int]

    @property
    def controls(self) -> list[str]:
        """The control sums, as the command takes them."""
        return [f"--control={code}={amount // 100}.{amount % 100:02}" for code, amount in self.sums.items()]


def write_legacy(file: Path, count: int, *, prefix: str) -> Legacy:
    """Write a file of so many players, a quarter of whom have bonus money."""
    draw = random.Random(1)  # the same file each time
    sums = dict.fromkeys(CURRENCIES, 0)
    with file.open("w", encoding="utf-8") as stream:
        stream.write("player_id,currency,real,bonus\n")
        for number in range(count):
            currency = CURRENCIES[number % len(CURRENCIES)]
            real, bonus = draw.randrange(1, 1_000_000), draw.randrange(1, 10_000) * (number % 16 < 4)
            sums[currency] += real + bonus
            amounts = f"{real // 100}.{real % 100:02},{bonus // 100}.{bonus % 100:02}"
            stream.write(f"{prefix}{number:08},{currency},{amounts}\n")
    return Legacy(file=file, count=count, sums=sums)


@dataclass(slots=True, kw_only=True)
class Importing:
    """One ledger, and the command that imports into it."""

    stack: Stack
    served: Served

    async def run(self, legacy: Legacy, import_id: str) -> Window:
        """Import a file; the facts tell what was posted, and the growth of both processes."""
        server = self.served.process.pid
        meters = Meters(server=server, database=self.stack.postmaster)
        idle, before, begun = tree_resident_mib(server), meters.read(), time.perf_counter()
        command = await asyncio.create_subprocess_exec(
            str(self.stack.defter),
            *("backfill", "opening-balances", "--json", "--import-id", import_id),
            *("--file", str(legacy.file), *legacy.controls),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={
                **server_environment({}),
                "DEFTER_SERVER": f"{HOST}:{self.served.port}",
                "DEFTER_TENANT": TENANT_ID,
            },
        )
        ending = asyncio.ensure_future(command.communicate())
        peak, small, large = idle, 0.0, 0.0
        while not ending.done():
            peak = max(peak, tree_resident_mib(server))
            own = _resident_mib(command.pid)
            large = max(large, own)
            if not small and time.perf_counter() - begun > BEGUN_SECONDS:
                small = own
            await asyncio.sleep(LOOK_SECONDS)
        output, errors = await ending
        seconds = time.perf_counter() - begun
        wrong = errors.decode() if command.returncode else ""
        result = json.loads(output) if not wrong else {"currencies": []}
        posted = sum(int(each["post_count"]) for each in result["currencies"])
        return Window(
            seconds=seconds,
            operations=legacy.count,
            p50_seconds=None,
            p99_seconds=None,
            cost=meters.read() - before,
            errors=int(bool(wrong)),
            first_failure=wrong,
            facts={
                "posted": float(posted),
                "server_idle_mib": idle,
                "server_growth_mib": peak - idle,
                "command_growth_mib": max(large - small, 0.0) if small else 0.0,
                "lines_per_second": legacy.count / seconds,
            },
        )


def _resident_mib(process: int) -> float:
    try:
        return float(psutil.Process(process).memory_info().rss) / MEBIBYTE
    except psutil.Error:
        return 0.0


def openings_line(importing: Importing, legacy: Legacy) -> Line:
    """Return the line of the whole import, into a tenant that has none of its players."""

    async def run(_: float) -> Window:
        window = await importing.run(legacy, "legacy")
        posted = int(window.facts["posted"])
        if window.errors or posted == legacy.count:
            return window
        return replace(window, errors=1, first_failure=f"{posted} of {legacy.count} lines were posted")

    return Line(
        name="openings",
        about=f"{legacy.count:,} opening balances, from the start of the command to its end; accounts opened",
        run=run,
        checks=(
            Check(fact="lines_per_second", unit="/s", bound=RATE_MIN),
            Check(fact="server_growth_mib", unit="MiB", bound=GROWTH_MAX_MIB, at_least=False),
            Check(fact="command_growth_mib", unit="MiB", bound=GROWTH_MAX_MIB, at_least=False),
        ),
        once=True,
    )


def again_line(importing: Importing, legacy: Legacy) -> Line:
    """Return the line of the same import once more, which posts nothing."""

    async def run(_: float) -> Window:
        window = await importing.run(legacy, "legacy")
        if window.facts["posted"]:
            return replace(window, errors=1, first_failure="something was posted twice")
        return window

    return Line(
        name="openings-again",
        about="the same file again: every line is compared with what was posted",
        run=run,
        once=True,
    )


async def measure_openings(order: Order) -> Report:
    """Measure the import."""
    async with AsyncExitStack() as running:
        tell("starting PostgreSQL and the ledger")
        stack = await running.enter_async_context(running_stack(order.database_url, order.defter))
        database_url = await running.enter_async_context(stack.database("openings"))
        served = await running.enter_async_context(stack.ledger(database_url))
        ledger = Ledger(served.channel)
        await ledger.prepare()
        importing = Importing(stack=stack, served=served)
        tell(f"importing {WARM_UP_LINES:,} lines, so that the server is warm")
        warm = write_legacy(stack.folder / "warm.csv", WARM_UP_LINES, prefix="w")
        warmed = await importing.run(warm, "warm-up")
        tell(f"importing {order.transaction_count:,} lines")
        legacy = write_legacy(stack.folder / "legacy.csv", order.transaction_count, prefix="p")
        lines = chosen([openings_line(importing, legacy), again_line(importing, legacy)], order.only)
        windows = await run_rounds(lines, order.plan, on_window=tell_window)
        described = await circumstances(stack.server_url, order.plan, windows)
        described["op"] = "one line: a player's balances in one currency"
        proof = [(not warmed.errors, warmed.first_failure or "the warm-up posted each line")]
        if order.verify:
            proof.append(await verify_journal(served.channel, on_progress=lambda _: None))
        return Report(circumstances=described, rows=rows_of(lines, windows), proof=proof, notes={})
