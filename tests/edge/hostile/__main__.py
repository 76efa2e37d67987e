"""Own the command that attacks an edge in a process of its own: `python -m tests.edge.hostile`.

The suite sends fewer of the same requests (`test_hostile_requests.py`); here there are enough of them to see
whether the edge's memory grows.
"""

import argparse
import asyncio
import contextlib
import re
import secrets
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Final

import httpx
import uvloop
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bench.cost import tree_resident_mib
from bench.http_servers import HttpServer, running_edge
from bench.stack import default_defter
from bench.stub_ledger import stub_ledger
from tests.edge.hostile.attack import IN_FLIGHT, Attack
from tools.free_ports import free_port

COUNT: Final = 20_000
# By then everything is loaded and all buffers have been as large as they get.
WARM_COUNT: Final = 2_000
GROWTH_MIB_MAX: Final = 6.0
BODY_SECONDS: Final = 2.0
SETTLE_SECONDS: Final = 1.0
SHOWN_MAX: Final = 20

_VERDICT: Final = re.compile(r'^defter_edge_webhooks_total\{.*verdict="(\w+)"\} ([0-9.e+]+)$', re.MULTILINE)
# The edge's own word for a fault of ours; with a ledger that always answers none of them may come up.
_FAULTS: Final = ("unexpected", "ledger_refused", "ledger_unavailable", "misconfigured")


def main() -> int:
    """Attack; return 0 when nothing came of it."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.edge.hostile", description="Attack the webhook edge."
    )
    parser.add_argument(
        "--count", type=int, default=COUNT, metavar="N", help="requests (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, metavar="N", help="of all requests (default: a fresh one, printed)"
    )
    given = parser.parse_args()
    seed = secrets.randbelow(2**32) if given.seed is None else given.seed
    return uvloop.run(send_hostile(default_defter(), seed=seed, count=given.count))


def say(line: str) -> None:
    """Say something at once, even to a file."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def send_hostile(defter: Path, *, seed: int, count: int) -> int:
    """Attack an edge of our own; return 0 when nothing came of it."""
    attack = Attack(seed, partial(datetime.now, UTC))
    say(f"seed {seed}: {count:,} requests, {IN_FLIGHT} in flight")
    async with contextlib.AsyncExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="defter-bench-")))
        ledger_port = free_port()
        await running.enter_async_context(
            stub_ledger(ledger_port, lambda event: attack.note_event(event.provider, event.payload))
        )
        edge = await running.enter_async_context(
            running_edge(defter, folder, ledger_port=ledger_port, body_seconds=BODY_SECONDS)
        )
        began = perf_counter()
        warm = min(WARM_COUNT, count // 2)
        before = await _send_all(attack, edge, range(warm))
        say(f"{warm:,} sent; the edge has {before:.1f} MiB")
        after = await _send_all(attack, edge, range(warm, count))
        seconds = perf_counter() - began
        verdicts = await _verdicts(edge)
        if edge.process.returncode is not None:
            attack.violations.append("the edge has ended")
    attack.compare_given()
    attack.violations += [f"{verdicts[fault]:,} times {fault}" for fault in _FAULTS if verdicts.get(fault)]
    if after - before > GROWTH_MIB_MAX:
        attack.violations.append(f"memory grew by {after - before:.1f} MiB, more than {GROWTH_MIB_MAX:g}")
    _print(attack, verdicts)
    say(f"seed {seed}: {count:,} requests in {seconds:.0f} s")
    say(f"the ledger was given {attack.given.total():,} events, of which nobody signed {_unsigned(attack):,}")
    say(
        f"memory of the edge: {before:.1f} MiB after the first {warm:,}, {after:.1f} MiB after all "
        f"({after - before:+.1f} MiB)"
    )
    return 1 if attack.violations else 0


async def _send_all(attack: Attack, edge: HttpServer, numbers: range) -> float:
    """Send the requests of these numbers; return the edge's memory when it has come to rest, in MiB."""
    await attack.send_all(edge.port, numbers)
    await asyncio.sleep(SETTLE_SECONDS)
    return tree_resident_mib(edge.process.pid)


async def _verdicts(edge: HttpServer) -> Mapping[str, int]:
    """Return how many webhooks had a verdict, as the edge counts them."""
    counts: Counter[str] = Counter()
    async with httpx.AsyncClient(trust_env=False) as client:
        for verdict, count in _VERDICT.findall((await client.get(edge.metrics_url)).text):
            counts[verdict] += int(float(count))
    return counts


def _print(attack: Attack, verdicts: Mapping[str, int]) -> None:
    console = Console(width=110)
    for title, rows in (
        (
            "Answers by kind of request",
            {kind: _counts(attack.statuses[kind]) for kind in sorted(attack.statuses)},
        ),
        ("Verdicts of the edge", {verdict: f"{verdicts[verdict]:,}" for verdict in sorted(verdicts)}),
    ):
        table = Table("", "count", title=title, box=SIMPLE_HEAD, title_justify="left")
        for name, text in rows.items():
            table.add_row(name, text)
        console.print(table)
    for violation in attack.violations[:SHOWN_MAX]:
        console.print(violation, style="red", markup=False, highlight=False)
    if len(attack.violations) > SHOWN_MAX:
        console.print(f"and {len(attack.violations) - SHOWN_MAX:,} more", style="red")


def _counts(statuses: Counter[str]) -> str:
    return ", ".join(f"{status}: {count:,}" for status, count in sorted(statuses.items()))


def _unsigned(attack: Attack) -> int:
    return sum(count for key, count in attack.given.items() if key not in attack.signed)


if __name__ == "__main__":
    sys.exit(main())
