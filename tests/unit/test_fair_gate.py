"""Own fair queueing: who has more to do than a share waits for itself, and keeps nobody else waiting."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger_server.domain.errors import QuotaReadsWaiting
from ledger_server.engine.fair_gate import Company, FairGate, Flow

FLOOD, QUIET = Flow("flood", "game"), Flow("quiet", "edge")


def entered(waits: asyncio.Future[None] | None) -> bool:
    """Whether work was let in."""
    return waits is None or (waits.done() and not waits.cancelled())


class World:
    """A gate with its work, on a clock that is moved by hand."""

    def __init__(self, share: int = 3, *, with_company: bool = False, **bounds: Any) -> None:
        self.now = 0.0
        self.company = Company(lambda: self.now) if with_company else None
        self.gate = FairGate(share, company=self.company, **bounds)
        self.works: list[tuple[Flow, int, asyncio.Future[None] | None]] = []

    def enter(self, flow: Flow, weight: int = 1) -> bool:
        """Bring work, and return whether it was let in at once."""
        if self.company is not None:
            self.company.saw(flow)
        waits = self.gate.enter(flow, weight)
        self.works.append((flow, weight, waits))
        return waits is None

    def end(self, place: int) -> None:
        """End work; what still waits is given up."""
        flow, weight, waits = self.works.pop(place)
        if waits is not None and not waits.done():
            waits.cancel()
        self.gate.leave(flow, weight, waits)

    def in_work(self) -> Counter[Flow]:
        """Return the weight in work of each flow."""
        found: Counter[Flow] = Counter()
        for flow, weight, waits in self.works:
            if entered(waits):
                found[flow] += weight
        return found


async def test_flood_waits_for_itself_alone() -> None:
    """However much of one tenant waits, the next of another one is let in at once."""
    world = World(3)
    assert [world.enter(FLOOD) for _ in range(5)] == [True] * 3 + [False] * 2
    assert world.enter(QUIET)


@pytest.mark.parametrize("other", [Flow("flood", "edge"), Flow("quiet", "game")])
async def test_share_is_the_tenants_and_the_callers(other: Flow) -> None:
    """Another caller of the tenant, or another tenant of the caller, is within the same share."""
    world = World(3)
    assert [world.enter(FLOOD) for _ in range(3)] == [True] * 3
    assert not world.enter(other)
    world.end(0)
    assert world.in_work()[other] == 1


async def test_flows_of_a_tenant_take_turns() -> None:
    """A caller with one call waits for one end, not for the queue of another caller."""
    world = World(1)
    world.enter(FLOOD)
    for _ in range(10):
        world.enter(FLOOD)
    world.enter(Flow("flood", "edge"))
    world.end(0)
    world.end(next(place for place, (_, _, waits) in enumerate(world.works) if entered(waits)))
    assert world.in_work() == {Flow("flood", "edge"): 1}


async def test_who_is_alone_has_everything() -> None:
    """And has a share from the moment that somebody else comes, until a second after."""
    world = World(3, with_company=True)
    assert all(world.enter(FLOOD) for _ in range(50))
    assert world.enter(QUIET)
    assert not world.enter(FLOOD)
    for _ in range(47):
        world.end(0)
    assert world.in_work()[FLOOD] == 3
    world.now += 2
    assert not world.enter(FLOOD)  # in its place behind the one that waits
    world.end(0)
    assert world.in_work()[FLOOD] == 4


@pytest.mark.parametrize("nameless", [Flow("", "game"), Flow("flood", ""), Flow("", "")])
async def test_call_that_names_nobody_is_nobody_elses(nameless: Flow) -> None:
    """A stream that has not begun has no tenant yet; whoever is alone beside it has everything."""
    world = World(3, with_company=True)
    for _ in range(20):
        assert world.enter(FLOOD)
        assert world.enter(nameless)
    assert world.enter(QUIET)
    assert not world.enter(FLOOD)


@pytest.mark.parametrize("caller", ["", "game"])
async def test_caller_of_many_tenants_that_is_alone_has_a_share_of_each(caller: str) -> None:
    """Tenants share among one another; the caller shares with nobody."""
    world = World(3, with_company=True)
    flows = [Flow(f"tenant-{number}", caller) for number in range(10)]
    assert all(world.enter(flow) for _ in range(2) for flow in flows)
    assert not world.enter(flows[0])
    assert world.enter(QUIET)
    assert world.enter(Flow("another", caller)) == (not caller)


async def test_large_work_is_let_in_among_small() -> None:
    """It waits for no more room than small work does, and counts by its weight once it is in."""
    world = World(3)
    for _ in range(3):
        world.enter(FLOOD)
    world.enter(FLOOD, 1_000)
    world.enter(FLOOD)
    world.end(0)
    assert world.in_work()[FLOOD] == 1_002
    world.end(0)
    world.end(0)
    assert world.in_work()[FLOOD] == 1_000
    world.end(0)
    assert world.in_work()[FLOOD] == 1


async def test_total_is_shared_by_turns() -> None:
    """Tenants that fill it one after the other each get their turn."""
    world = World(2, total=4)
    flows = [Flow(name, "") for name in "abc"]
    for flow in flows:
        for _ in range(4):
            world.enter(flow)
    assert world.in_work() == {flows[0]: 2, flows[1]: 2}
    seen: Counter[Flow] = Counter()
    for _ in range(8):
        before = world.in_work()
        world.end(next(place for place, (_, _, waits) in enumerate(world.works) if entered(waits)))
        seen += world.in_work() - before
    assert seen[flows[2]] >= 2
    assert sum(world.in_work().values()) <= 4


async def test_too_much_waiting_work_is_refused_by_name() -> None:
    """Of its owner alone."""
    world = World(1, total=1, most_waiting=2)
    for _ in range(3):
        world.enter(FLOOD)
    with pytest.raises(QuotaReadsWaiting) as caught:
        world.enter(FLOOD)
    assert caught.value.metadata == {"quota": "tenant", "name": "flood", "limit": "2"}
    with pytest.raises(QuotaReadsWaiting) as caught:
        world.enter(Flow("quiet", "game"))
    assert caught.value.metadata == {"quota": "caller", "name": "game", "limit": "2"}
    assert not world.enter(QUIET)


@pytest.mark.parametrize("was_let_in", [False, True])
async def test_task_that_is_cancelled_leaves_nothing(was_let_in: bool) -> None:
    """Whether it still waited, or had just been let in."""
    gate = FairGate(1)

    async def work() -> None:
        async with gate.entered(FLOOD):
            await asyncio.Event().wait()

    first = gate.enter(FLOOD)
    assert first is None
    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    assert gate.waiting == 1
    if was_let_in:
        gate.leave(FLOOD)
    task.cancel()
    await asyncio.wait([task])
    if not was_let_in:
        gate.leave(FLOOD)
    assert (gate.in_work, gate.waiting, gate.known) == (0, 0, 0)


_flows = st.builds(Flow, st.sampled_from(["a", "b", "c"]), st.sampled_from(["", "x", "y"]))
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), _flows, st.integers(1, 5)),
        st.tuples(st.just("end"), st.integers(0, 50), st.just(0)),
        st.tuples(st.just("later"), st.integers(0, 3), st.just(0)),
    ),
    max_size=120,
)


@given(_steps, st.integers(1, 4), st.one_of(st.none(), st.integers(1, 6)), st.booleans())
def test_any_order_of_work_ends_and_keeps_the_shares(
    steps: list[tuple[str, Any, int]], share: int, total: int | None, with_company: bool
) -> None:
    """Nothing exceeds a share by more than one work; what waits has a reason to; all is let in at last."""

    async def play() -> None:
        world = World(share, total=total, with_company=with_company)
        for what, subject, weight in steps:
            if what == "enter":
                world.enter(subject, weight)
            elif what == "end" and world.works:
                world.end(subject % len(world.works))
            elif what == "later":
                world.now += subject
            in_work = world.in_work()
            assert world.gate.in_work == sum(in_work.values())
            for flow, _, waits in world.works:
                if not entered(waits):
                    tenant = sum(count for each, count in in_work.items() if each.tenant_id == flow.tenant_id)
                    caller = sum(
                        count for each, count in in_work.items() if flow.caller and each.caller == flow.caller
                    )
                    assert tenant or caller or (total is not None and world.gate.in_work >= total)
            if not with_company:
                most = max(share, 2) + 4
                for owner in ("a", "b", "c"):
                    assert sum(count for flow, count in in_work.items() if flow.tenant_id == owner) <= most
        ended = 0
        while world.works:
            place = next(place for place, (_, _, waits) in enumerate(world.works) if entered(waits))
            world.end(place)
            ended += 1
        assert (world.gate.in_work, world.gate.waiting, world.gate.known) == (0, 0, 0)

    asyncio.run(play())
