"""A stream of transactions goes on after breaks, however slowly it is read, and mixes nothing up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from defter.ledger.v1 import posting_pb2

from defter_client import LedgerError
from defter_client import aio as io
from defter_client._async.calls import Caller
from defter_client._async.transactions import TransactionStream

SECONDS = 5.0
AWAY = -1
"""Instead of a number of answers: the call ends before anything is sent."""
GONE = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "gone")


class Call:
    """A call of the stream that answers each item, until it breaks."""

    def __init__(self, requests: Any, answers: int, spoil: Callable[[str], str]) -> None:
        self._requests = requests
        self._answers = answers
        self._spoil = spoil
        self._keys: list[str] = []

    def cancel(self) -> None:
        """End it."""

    async def answer(self) -> Any:
        """Return the next message, None at the end."""
        if self._answers == AWAY:
            raise GONE
        while not self._keys:
            request = await anext(self._requests, None)
            if request is None:
                return None
            self._keys = [item.idempotency_key for item in request.items]
        if not self._answers:
            raise GONE
        self._answers -= 1
        result = posting_pb2.PostTransactionResult(idempotency_key=self._spoil(self._keys.pop(0)))
        return posting_pb2.StreamTransactionsResponse(results=[result])


class Connections:
    """One address, whose calls break after so many answers each."""

    def __init__(self, answers: list[int], spoil: Callable[[str], str]) -> None:
        self.closings = 0
        self.begun_count = 0
        self._answers = answers
        self._spoil = spoil

    def next(self) -> Connections:
        """Return itself."""
        return self

    def both_streams(self, *_: object) -> Callable[[Any], Call]:
        """Return what begins a call."""
        self.begun_count += 1
        return lambda requests: Call(requests, self._answers.pop(0) if self._answers else 10**9, self._spoil)

    def rest(self) -> None:
        """Do nothing."""


class Time:
    """Time that passes while somebody sleeps or reads slowly."""

    def __init__(self) -> None:
        self.now = 0.0

    async def sleep(self, seconds: float) -> None:
        """Let it pass."""
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    """The time of the client."""
    time = Time()

    async def read(call: Call, _: float) -> Any:
        return await call.answer()

    monkeypatch.setattr(io, "read", read)
    monkeypatch.setattr(io, "sleep", time.sleep)
    monkeypatch.setattr(io, "now", lambda: time.now)
    return time


def stream(
    connections: Any, count: int
) -> tuple[AsyncIterator[posting_pb2.PostTransactionResult], list[str]]:
    """Return the results of so many items, and their keys."""
    keys = [f"key-{number}" for number in range(count)]
    items = [posting_pb2.PostTransactionItem(idempotency_key=key) for key in keys]
    caller = Caller(connections, tenant="casino", timeout_seconds=SECONDS)
    return TransactionStream(caller, "", items, SECONDS).results(), keys


def as_it_is(key: str) -> str:
    """Return a key."""
    return key


@pytest.mark.parametrize("breaks", [[], [0], [3], [0, 1, 2], [250, 7, 150]])
@pytest.mark.parametrize("seconds_a_result", [0.0, 100.0])
async def test_results_come_once_and_in_order_however_slowly_they_are_read(
    clock: Time, breaks: list[int], seconds_a_result: float
) -> None:
    """A break behind a slow reader finds all the time there is for another try."""
    results, keys = stream(Connections(list(breaks), as_it_is), 500)
    seen = []
    async for result in results:
        seen.append(result.idempotency_key)
        clock.now += seconds_a_result
    assert seen == keys


@pytest.mark.parametrize("spoil", [lambda _: "another", lambda key: key[:-1]])
async def test_result_of_another_item_ends_the_stream(clock: Time, spoil: Callable[[str], str]) -> None:
    """Else the caller would take one player's result for another one's."""
    results, keys = stream(Connections([], spoil), 3)
    with pytest.raises(LedgerError, match="not the next item") as raised:
        await anext(results)
    assert raised.value.outcome_unknown
    assert raised.value.keys == tuple(keys)


async def test_server_that_stays_away_is_given_up_in_time(clock: Time) -> None:
    """And what has no result is told."""
    results, keys = stream(Connections([2] + [0] * 1_000, as_it_is), 9)
    assert [(await anext(results)).idempotency_key for _ in range(2)] == keys[:2]
    with pytest.raises(LedgerError) as raised:
        await anext(results)
    assert clock.now <= SECONDS
    assert raised.value.keys == tuple(keys[2:])


async def test_client_that_is_closed_during_a_pause_is_not_opened_again(
    clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or it would post on after its end."""
    connections = Connections([1], as_it_is)
    results, keys = stream(connections, 5)

    async def closed(_: float) -> None:
        connections.closings += 1

    monkeypatch.setattr(io, "sleep", closed)
    await anext(results)
    with pytest.raises(LedgerError) as raised:
        await anext(results)
    assert raised.value.keys == tuple(keys[1:])
    assert connections.begun_count == 1


async def test_nothing_is_open_of_a_stream_in_which_nothing_waits(clock: Time) -> None:
    """Whoever is told that an outcome is unknown has to ask for one."""
    results, _ = stream(Connections([AWAY] * 1_000, as_it_is), 0)
    with pytest.raises(LedgerError) as raised:
        await anext(results)
    assert not raised.value.outcome_unknown
    assert raised.value.keys == ()
