"""Own the tables of how jobs ask again: a busy lane, a database that is away, a provider that wants time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger_server.domain.errors import (
    ClockAstray,
    DeadlinePassed,
    IllegalTransition,
    Internal,
    LaneFull,
    Refused,
    ServerFull,
    ShuttingDown,
    StoreUnavailable,
)
from ledger_server.engine.lane.work import Request
from ledger_server.engine.ledger import Ledger
from ledger_server.jobs.calling import spread
from ledger_server.jobs.retrying import submit_until_decided
from tests.unit.retrying.test_backoff import Time, tries


class BusyLedger:
    """Refuses as it is told, and then decides."""

    def __init__(self, *refusals: Refused) -> None:
        self.refusals = list(refusals)
        self.asked: list[Sequence[Request]] = []

    async def submit(self, _: str, requests: Sequence[Request]) -> list[Any]:
        """Refuse, or return an outcome."""
        self.asked.append(requests)
        if self.refusals:
            raise self.refusals.pop(0)
        return ["decided"]


@pytest.mark.parametrize(
    ("refusal", "pauses"),
    [
        (LaneFull(), [0.2, 0.3]),
        (ClockAstray(), [0.1, 0.2]),
        (DeadlinePassed(), [0.1, 0.2]),
        (StoreUnavailable(), [0.1, 0.2]),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_submit_what_passes_is_asked_again_with_the_same_requests(
    refusal: Refused, pauses: list[float]
) -> None:
    """A full lane is given the time that it asks callers for."""
    time, ledger = Time(), BusyLedger(refusal, refusal)

    outcomes = await submit_until_decided(cast("Ledger", ledger), "casino", [], tries=tries(time, 10.0))

    assert cast("object", outcomes) == ["decided"]
    assert time.slept == pytest.approx(pauses)
    assert all(asked is ledger.asked[0] for asked in ledger.asked)


@pytest.mark.parametrize("refusal", [IllegalTransition(), Internal(), ServerFull(), ShuttingDown()])
async def test_submit_what_does_not_pass_is_asked_once(refusal: Refused) -> None:
    """A rule says the same again, and a server that drains decides nothing more."""
    time, ledger = Time(), BusyLedger(refusal)

    with pytest.raises(type(refusal)):
        await submit_until_decided(cast("Ledger", ledger), "casino", [], tries=tries(time, 10.0))
    assert (len(ledger.asked), time.slept) == (1, [])


async def test_submit_to_a_lane_that_stays_full_ends() -> None:
    """There is a time after which whoever asked has to hear of it."""
    time, ledger = Time(), BusyLedger(*[LaneFull()] * 1_000)

    with pytest.raises(LaneFull):
        await submit_until_decided(cast("Ledger", ledger), "casino", [], tries=tries(time, 10.0))
    assert sum(time.slept) <= 10.0
    assert len(ledger.asked) < 1_000


@given(
    pause=st.floats(0, 100_000),
    at_least=st.none() | st.floats(0, 100_000),
    share=st.floats(0, 1),
)
def test_rest_of_a_call_is_never_shorter_than_the_provider_asked_for(
    pause: float, at_least: float | None, share: float
) -> None:
    """Jitter makes our own pause shorter or longer, and a provider's `Retry-After` only longer."""
    rest = spread(pause, at_least, lambda low, high: low + share * (high - low))

    assert rest >= (at_least or 0.0)
    assert 0.75 * pause <= rest <= 1.25 * max(pause, at_least or 0.0)
