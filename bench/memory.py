"""Own the loading of many transactions, and the line that watches a server's memory meanwhile."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import replace

from bench.cost import Meters, tree_resident_mib
from bench.ledger import Asked, Ledger
from bench.lines import BATCHES_IN_FLIGHT, Check, Line
from bench.loads import keep_in_flight
from bench.measure import Meter, Window, run_window
from bench.stack import Stack

GROWTH_MAX_MIB = 20.0
# The part of the load after which the server counts as warm.
WARM_UP_SHARE = 0.05
# How long a load may take in all; it ends by count.
LOAD_SECONDS_MAX = 4 * 3_600.0
PROGRESS_SECONDS = 10.0

Progress = Callable[[str], None]


async def load_transactions(ledger: Ledger, count: int, *, meters: Meters, on_progress: Progress) -> Window:
    """Post at least so many transfers in batches."""
    meter = Meter(seconds=math.inf, ramp_seconds=0, meters=meters, operations_max=count)

    async def tell() -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            on_progress(f"{meter.succeeded:,} of {count:,} transactions posted")

    telling = asyncio.ensure_future(tell())
    try:
        load = keep_in_flight([ledger.post_batch()] * BATCHES_IN_FLIGHT, meter)
        await run_window(meter, [load], seconds=LOAD_SECONDS_MAX)
    finally:
        telling.cancel()
    ledger.book(meter)
    return meter.window()


def memory_line(
    stack: Stack,
    database_url: str,
    asked: Asked,
    *,
    transaction_count: int,
    on_progress: Progress,
) -> Line:
    """Return the line that loads a fresh server and compares its memory before and after."""

    async def run(_: float) -> Window:
        async with stack.ledger(database_url) as served:
            ledger = Ledger(served.channel, asked)
            process = served.process.pid
            meters = Meters(server=process, database=stack.postmaster)
            warm_up = math.ceil(transaction_count * WARM_UP_SHARE)
            await load_transactions(ledger, warm_up, meters=meters, on_progress=on_progress)
            before = tree_resident_mib(process)
            window = await load_transactions(
                ledger, transaction_count, meters=meters, on_progress=on_progress
            )
            after = tree_resident_mib(process)
        facts = {"warm_mib": before, "loaded_mib": after, "growth_mib": after - before}
        return replace(window, facts=facts)

    return Line(
        name="memory",
        about=f"transfers, batches of 1,000; growth of a warm server over {transaction_count:,}",
        run=run,
        checks=(Check(fact="growth_mib", unit="MiB", bound=GROWTH_MAX_MIB, at_least=False),),
        once=True,
    )
