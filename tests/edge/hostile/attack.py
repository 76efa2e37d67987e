"""Own the attack on a running edge: what is sent, and what must not come of it."""

import asyncio
import contextlib
import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from bench.stack import HOST
from tests.edge.hostile.parts import Hostile
from tests.edge.hostile.requests import hostile

IN_FLIGHT: Final = 32
# Longer than a body may take; whoever has no answer by then is not answered.
PATIENCE_SECONDS: Final = 20.0
HANG_SECONDS: Final = 0.25

_STATUS: Final = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")


@dataclass(slots=True)
class Attack:
    """What was sent and what came of it.

    Attributes:
        statuses: how often each was answered, by kind; "none" for no answer.
        given: how often the ledger was given a body, by provider account and digest.
        signed: what the ledger may be given, and whether it has to be.
        now: the time of signatures.
    """

    seed: int
    now: Callable[[], datetime]
    statuses: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    given: Counter[tuple[str, str]] = field(default_factory=Counter)
    signed: dict[tuple[str, str], bool] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def note_event(self, scheme: str, payload: bytes) -> None:
        """Note what the ledger was given."""
        self.given[scheme, _digest(payload)] += 1

    async def send_all(self, port: int, numbers: Iterable[int]) -> None:
        """Send the requests of these numbers, several at once."""
        shared = iter(numbers)
        await asyncio.gather(*(self._send(port, shared) for _ in range(IN_FLIGHT)))

    async def _send(self, port: int, numbers: Iterator[int]) -> None:
        """Send requests one after the other, each on a connection of its own."""
        for number in numbers:
            kind, request = hostile(self.seed, number, self.now)
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


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
