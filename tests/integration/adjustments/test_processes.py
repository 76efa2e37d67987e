"""Adjustments that several processes approve, and that outlive processes which are killed."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
from defter.ledger.v1 import adjustment_pb2 as pb

from tests.support.adjusters import POSTED, REQUESTED, Adjusters
from tests.support.coherence import assert_ledger_coherent, assert_tables_coherent
from tests.support.ledger import Ledger
from tests.support.load import COME_BACK
from tests.support.service import serving_process
from tests.support.wire import open_channel, read_refusal

REVIEWERS = ("grace", "joan", "mary", "rosa")
COUNT = 12


async def until_decided(ask: Callable[[], Awaitable[pb.Adjustment]]) -> str:
    """Ask until there is an answer; return the state that it tells, or the reason of a refusal."""
    while True:
        try:
            return pb.AdjustmentState.Name((await ask()).state)
        except grpc.aio.AioRpcError as error:
            if error.code() not in COME_BACK:
                return read_refusal(error).reason
            await asyncio.sleep(0.01)  # lets other work run; the duration does not matter


def approvals(asking: Sequence[Adjusters], asked: Sequence[pb.Adjustment]) -> list[Awaitable[str]]:
    """Return what four persons ask for at once: to approve each, under a key that stays the same."""

    def one(adjusters: Adjusters, adjustment_id: str, reviewer: str) -> Awaitable[str]:
        key = f"{reviewer} {adjustment_id}"
        return until_decided(lambda: adjusters.approve(adjustment_id, reviewer, key=key))

    pairs = itertools.product(asked, REVIEWERS)
    return [
        one(adjusters, each.adjustment_id, reviewer)
        for adjusters, (each, reviewer) in zip(itertools.cycle(asking), pairs, strict=False)
    ]


async def assert_posted_once(adjusters: Adjusters, told: list[str]) -> None:
    """One approval of each has posted it, and the others were told that it was over."""
    ledger = adjusters.ledger
    assert Counter(told) == {
        "ADJUSTMENT_STATE_POSTED": COUNT,
        "ILLEGAL_TRANSITION": COUNT * (len(REVIEWERS) - 1),
    }
    found = await adjusters.listed()
    assert [each.state for each in found] == [POSTED] * COUNT
    assert len({each.transaction_id for each in found}) == COUNT
    assert await ledger.posted("ann") == 100 * COUNT
    await assert_ledger_coherent(ledger)


async def test_two_processes_post_each_adjustment_once(database_url: str, tmp_path: Path) -> None:
    """Whichever takes an approval, the other one learns of it before it decides."""
    async with AsyncExitStack() as opened:
        asking: list[Adjusters] = []
        for name in ("first", "second"):
            process = await opened.enter_async_context(
                serving_process(database_url, log_file=tmp_path / f"{name}.log")
            )
            channel = await opened.enter_async_context(open_channel(process.port))
            asking.append(Adjusters(Ledger(channel, "casino", key_prefix=name)))
        first, second = asking
        await first.ledger.create()
        await first.ledger.open_house()
        await first.ledger.open("ann")
        asked = [await asking[number % 2].request() for number in range(COUNT)]
        assert {each.state for each in asked} == {REQUESTED}

        told = await asyncio.gather(*approvals(asking, asked))

        await assert_posted_once(first, list(told))
        assert await second.listed() == await first.listed()


async def test_killed_process_loses_and_doubles_no_approval(database_url: str, tmp_path: Path) -> None:
    """What was acknowledged is posted, and what was not is decided by the same key afterwards."""
    async with (
        serving_process(database_url, log_file=tmp_path / "server.log") as process,
        open_channel(process.port) as channel,
    ):
        adjusters = Adjusters(Ledger(channel, "casino", key_prefix="ask"))
        await adjusters.ledger.create()
        await adjusters.ledger.open_house()
        await adjusters.ledger.open("ann")
        asked = [await adjusters.request() for _ in range(COUNT)]
        asking = asyncio.gather(*approvals([adjusters], asked))
        for _ in range(3):
            await asyncio.sleep(0)
            process.kill()
            process.spawn()
            await process.wait_until_serving()

        told = await asking

        await assert_posted_once(adjusters, list(told))
        await assert_tables_coherent(database_url, "casino")
