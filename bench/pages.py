"""Own people with live pages: a process that signs so many in, and has them look at a page when told to.

Run as `python -m bench.pages --address URL --count N`: it prints a line once all have signed in. On the line
`look` they open a page each, and it prints a line once all are live and one was fetched again. On a window's
bounds it answers one line of what it saw in between, and they close their pages. It does what a browser does
with a page of the console: it reads the page's stream of signals, and asks for the page anew when one says
that something on it has changed.
"""

import argparse
import asyncio
import contextlib
import json
import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from html import unescape
from time import perf_counter
from typing import Final, TypedDict

import httpx
import uvloop

from bench.payloads import TENANT_ID

PEOPLE: Final = 50
PASSWORD: Final = "measured by the bench"  # noqa: S105  # of users that exist for one run
PAGE: Final = f"/t/{TENANT_ID}/withdrawals"
# One address may try a name 30 times within some minutes, and people come from many.
_PER_ADDRESS: Final = 20
_SIGN_INS_AT_ONCE: Final = 4
_TIMEOUT: Final = httpx.Timeout(60.0)


class Seen(TypedDict):
    """What all pages together saw between two moments."""

    signals: int
    fetches: int
    p50_seconds: float | None
    failures: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """A running process of people."""

    process: asyncio.subprocess.Process

    async def look(self) -> None:
        """Have everybody open a page; return once all are live."""
        if await self._ask("look") != b"looking\n":
            raise RuntimeError("the pages did not open")

    async def seen(self, opened: float, closed: float) -> Seen:
        """Close all pages; return what was seen between two moments of `perf_counter`."""
        seen: Seen = json.loads(await self._ask(f"{opened} {closed}"))
        return seen

    async def _ask(self, text: str) -> bytes:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{text}\n".encode())
        await self.process.stdin.drain()
        return await self.process.stdout.readline()


@asynccontextmanager
async def signed_in(address: str, count: int = PEOPLE) -> AsyncIterator[Pages]:
    """Sign so many people in, in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.pages",
        f"--address={address}",
        f"--count={count}",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        if not await process.stdout.readline():
            raise RuntimeError("nobody was signed in")
        yield Pages(process=process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def name_of(number: int) -> str:
    """Return the name of one of the people."""
    return f"person-{number}"


@dataclass(slots=True)
class _Notes:
    """What the pages have noted so far."""

    signals: list[float] = field(default_factory=list)
    fetches: list[tuple[float, float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    first_fetch: asyncio.Event = field(default_factory=asyncio.Event)

    def between(self, opened: float, closed: float) -> Seen:
        lasted = sorted(seconds for moment, seconds in self.fetches if opened <= moment <= closed)
        return Seen(
            signals=sum(opened <= moment <= closed for moment in self.signals),
            fetches=len(lasted),
            p50_seconds=lasted[len(lasted) // 2] if lasted else None,
            failures=self.failures[:3],
        )


async def _sign_in(http: httpx.AsyncClient, address: str, number: int) -> None:
    form = {"name": name_of(number), "password": PASSWORD}
    answer = await http.post("/sign-in", data=form, headers={"Origin": address})
    if answer.status_code != httpx.codes.SEE_OTHER:
        raise RuntimeError(f"{name_of(number)} was not signed in: {answer.status_code}")


async def _look(http: httpx.AsyncClient, notes: _Notes, ready: asyncio.Event) -> None:
    """Hold one page open, and fetch it again whenever it is told to."""
    page = await http.get(PAGE)
    found = re.search(r'data-live="([^"]+)"', page.text)
    if found is None:
        raise RuntimeError(f"the page is not live: {page.status_code}")
    async with http.stream("GET", unescape(found[1])) as stream:
        async for line in stream.aiter_lines():
            ready.set()
            if not line.startswith("event: withdrawals"):
                continue
            notes.signals.append(perf_counter())
            begun = perf_counter()
            again = await http.get(PAGE, headers={"HX-Request": "true"})
            notes.fetches.append((perf_counter(), perf_counter() - begun))
            notes.first_fetch.set()
            if again.status_code != httpx.codes.OK:
                notes.failures.append(f"a page was answered {again.status_code}")
    notes.failures.append("a stream ended")


async def _main(address: str, count: int) -> None:
    async with AsyncExitStack() as opened:
        people = [
            await opened.enter_async_context(
                httpx.AsyncClient(
                    base_url=address,
                    timeout=_TIMEOUT,
                    transport=httpx.AsyncHTTPTransport(local_address=f"127.0.0.{2 + number // _PER_ADDRESS}"),
                )
            )
            for number in range(count)
        ]
        # A password costs a tenth of a second, which the console spends for few at a time.
        for start in range(0, count, _SIGN_INS_AT_ONCE):
            chosen = range(start, min(start + _SIGN_INS_AT_ONCE, count))
            await asyncio.gather(*(_sign_in(people[number], address, number) for number in chosen))
        print("signed in", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            await _look_until_asked(people)


async def _look_until_asked(people: Sequence[httpx.AsyncClient]) -> None:
    """Hold pages open until the bounds of a window are asked about."""
    notes = _Notes()
    ready = [asyncio.Event() for _ in people]
    looks = [
        asyncio.create_task(_look(http, notes, event)) for http, event in zip(people, ready, strict=True)
    ]
    try:
        await _until(ready, looks)
        await notes.first_fetch.wait()
        print("looking", flush=True)
        begin, end = map(float, (await asyncio.to_thread(sys.stdin.readline)).split())
        print(json.dumps(notes.between(begin, end)), flush=True)
    finally:
        for look in looks:
            look.cancel()
        await asyncio.gather(*looks, return_exceptions=True)


async def _until(ready: Sequence[asyncio.Event], looks: Sequence["asyncio.Task[None]"]) -> None:
    """Wait until all pages are live; raise what kept one from it."""
    waiting = asyncio.create_task(_all_set(ready))
    await asyncio.wait([waiting, *looks], return_when=asyncio.FIRST_COMPLETED)
    for look in looks:
        if look.done():
            look.result()
    await waiting


async def _all_set(events: Sequence[asyncio.Event]) -> None:
    for event in events:
        await event.wait()


def main() -> None:
    """Look at pages until the bounds have been answered."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--count", type=int, default=PEOPLE)
    arguments = parser.parse_args()
    uvloop.run(_main(arguments.address, arguments.count))


if __name__ == "__main__":
    main()
