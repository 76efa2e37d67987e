"""Own the attack on a running edge: what is sent, what must not come of it, and the table in the end."""

import asyncio
import contextlib
import hashlib
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Final

import httpx
from defter.payments.v1.payment_pb2 import ProviderEvent
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bench.cost import tree_resident_mib
from bench.hostile_parts import Hostile
from bench.hostile_requests import hostile
from bench.http_servers import HttpServer, running_edge
from bench.order import Order, tell
from bench.stack import HOST, free_port
from bench.stub_ledger import stub_ledger

IN_FLIGHT: Final = 32
# By then everything is loaded and all buffers have been as large as they get.
WARM_COUNT: Final = 2_000
GROWTH_MIB_MAX: Final = 6.0
BODY_SECONDS: Final = 2.0
SETTLE_SECONDS: Final = 1.0
# Longer than a body may take; whoever has no answer by then is not answered.
PATIENCE_SECONDS: Final = 20.0
HANG_SECONDS: Final = 0.25
SHOWN_MAX: Final = 20

_STATUS: Final = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")
_VERDICT: Final = re.compile(r'^defter_edge_webhooks_total\{.*verdict="(\w+)"\} ([0-9.e+]+)$', re.MULTILINE)
# The edge's own word for a fault of ours; with a ledger that always answers none of them may come up.
_FAULTS: Final = ("unexpected", "ledger_refused", "ledger_unavailable", "misconfigured")


@dataclass(slots=True)
class Attack:
    """What was sent and what came of it.

    Attributes:
        statuses: how often each was answered, by kind; "none" for no answer.
        given: how often the ledger was given a body, by provider account and digest.
        signed: what the ledger may be given, and whether it has to be.
    """

    seed: int
    statuses: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    given: Counter[tuple[str, str]] = field(default_factory=Counter)
    signed: dict[tuple[str, str], bool] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def note_event(self, event: ProviderEvent) -> None:
        """Note what the ledger was given."""
        self.given[event.provider, _digest(event.payload)] += 1

    async def send(self, port: int, numbers: Iterator[int]) -> None:
        """Send requests one after the other, each on a connection of its own."""
        for number in numbers:
            kind, request = hostile(self.seed, number)
            if request.body is not None:
                self.signed[request.scheme, _digest(request.body)] = request.genuine
            try:
                statuses = await _answers(port, request)
            except OSError as error:
                # TimeoutError is one: neither an answer nor an end came.
                self.violations.append(f"request {number}, {kind}: {type(error).__name__}")
                continue
            self.statuses[kind].update(map(str, statuses) if statuses else ["none"])
            if not set(statuses) <= request.statuses or not (statuses or request.silent):
                expected = sorted(request.statuses)
                self.violations.append(f"request {number}, {kind}: answered {statuses}, expected {expected}")

    def compare_given(self) -> None:
        """Compare what the ledger was given with what was genuine."""
        for (provider, digest), count in self.given.items():
            if (provider, digest) not in self.signed:
                self.violations.append(f"the ledger was given a body that nobody signed, {provider} {digest}")
            elif count != 1:
                self.violations.append(f"the ledger was given a body {count} times, {provider} {digest}")
        lost = sum(must and key not in self.given for key, must in self.signed.items())
        if lost:
            self.violations.append(f"{lost} genuine webhooks did not come to the ledger")


async def send_hostile(order: Order) -> int:
    """Attack an edge of our own; return 0 when nothing came of it."""
    attack = Attack(order.seed)
    tell(f"seed {order.seed}: {order.hostile_count:,} requests, {IN_FLIGHT} in flight")
    async with contextlib.AsyncExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="defter-bench-")))
        ledger_port = free_port()
        await running.enter_async_context(stub_ledger(ledger_port, attack.note_event))
        edge = await running.enter_async_context(
            running_edge(order.defter, folder, ledger_port=ledger_port, body_seconds=BODY_SECONDS)
        )
        began = perf_counter()
        warm = min(WARM_COUNT, order.hostile_count // 2)
        before = await _send_all(attack, edge, range(warm))
        tell(f"{warm:,} sent; the edge has {before:.1f} MiB")
        after = await _send_all(attack, edge, range(warm, order.hostile_count))
        seconds = perf_counter() - began
        verdicts = await _verdicts(edge)
        if edge.process.returncode is not None:
            attack.violations.append("the edge has ended")
    attack.compare_given()
    attack.violations += [f"{verdicts[fault]:,} times {fault}" for fault in _FAULTS if verdicts.get(fault)]
    if after - before > GROWTH_MIB_MAX:
        attack.violations.append(f"memory grew by {after - before:.1f} MiB, more than {GROWTH_MIB_MAX:g}")
    _print(attack, verdicts)
    print(f"seed {order.seed}: {order.hostile_count:,} requests in {seconds:.0f} s")
    print(
        f"the ledger was given {attack.given.total():,} events, of which nobody signed {_unsigned(attack):,}"
    )
    print(
        f"memory of the edge: {before:.1f} MiB after the first {warm:,}, {after:.1f} MiB after all "
        f"({after - before:+.1f} MiB)"
    )
    return 1 if attack.violations else 0


async def _send_all(attack: Attack, edge: HttpServer, numbers: range) -> float:
    """Send the requests of these numbers; return the edge's memory when it has come to rest, in MiB."""
    shared = iter(numbers)
    await asyncio.gather(*(attack.send(edge.port, shared) for _ in range(IN_FLIGHT)))
    await asyncio.sleep(SETTLE_SECONDS)
    return tree_resident_mib(edge.process.pid)


async def _answers(port: int, request: Hostile) -> list[int]:
    """Send a request; return the statuses of all answers, interim ones aside.

    Raises:
        TimeoutError: the edge did not come to an end with it.
    """
    answered = b""
    async with asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            # An edge that has refused it may have closed already.
            with contextlib.suppress(ConnectionError):
                writer.write(request.content)
                await writer.drain()
                if request.cuts:
                    writer.write_eof()
            answered = await _read(reader, HANG_SECONDS if request.hangs else None)
        finally:
            writer.close()
    return [status for status in map(int, _STATUS.findall(answered)) if status >= 200]


async def _read(reader: asyncio.StreamReader, pause_seconds: float | None) -> bytes:
    """Read until the edge closes; with a pause, until nothing has come for so long."""
    content = b""
    with contextlib.suppress(ConnectionError):
        while True:
            try:
                async with asyncio.timeout(pause_seconds):
                    chunk = await reader.read(65_536)
            except TimeoutError:
                break
            if not chunk:
                break
            content += chunk
    return content


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


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
