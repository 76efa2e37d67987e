"""Own the budgets in bytes that a process shares: of requests, watchers, memories and pieces of a commit."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger_server.domain.errors import ServerFull
from ledger_server.engine.lane.working_sets import WorkingSets
from ledger_server.engine.reads.follower_budget import LEAST_BYTES, MOST_BYTES, FollowerBudget
from ledger_server.rpc.request_budget import SMALL_BYTES, RequestBudget
from ledger_server.store.lane_writes import _TABLES, PIECE_BYTES, PIECE_ROWS, pieces

KIB = 1024
MIB = 1024 * KIB


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5 * MIB)), max_size=50), st.integers(1, 16 * MIB))
def test_requests_under_way_never_have_more_bytes_than_the_bound(
    steps: list[tuple[bool, int]], most: int
) -> None:
    """But for a single one that is larger by itself; large ones leave a quarter for small ones."""
    budget = RequestBudget(most)
    inside: list[int] = []
    for enters, size in steps:
        if enters:
            try:
                budget.enter(size)
            except ServerFull:
                assert inside
                assert sum(inside) + size > (most if size <= SMALL_BYTES else most * 3 // 4)
            else:
                inside.append(size)
        elif inside:
            budget.leave(inside.pop(0))
        assert budget.used == sum(inside)
        assert budget.used <= most or len([size for size in inside if size]) == 1
        if all(size > SMALL_BYTES for size in inside) and len(inside) > 1:
            assert budget.used <= most * 3 // 4


class SomeLane:
    """What stands for a lane: idle or not, and whether it was made to forget."""

    def __init__(self) -> None:
        self.idle = True
        self.forgot = False

    def forget(self) -> None:
        """Note it."""
        assert self.idle
        self.forgot = True


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 400), st.booleans(), st.booleans()), max_size=60))
def test_lanes_remember_no_more_than_the_budget_unless_all_are_busy(
    uses: list[tuple[int, int, bool, bool]],
) -> None:
    """Idle lanes forget, the longest unused first, and none that is busy; what is gone counts no more."""
    working_sets = WorkingSets(1_000)
    lanes = [SomeLane() for _ in range(8)]
    sizes: dict[int, int] = {}
    order: list[int] = []
    for place, size, idle, gone in uses:
        lane = lanes[place]
        if gone:
            working_sets.drop(lane)
            sizes.pop(place, None)
            continue
        lane.idle = False
        before = dict(sizes)
        working_sets.note(lane, size)
        sizes[place] = size
        order = [each for each in order if each != place] + [place]
        forgot = [each for each in order if lanes[each].forgot]
        for each in forgot:
            lanes[each].forgot = False
            sizes.pop(each, None)
        assert place not in forgot
        kept_idle = [each for each in order if lanes[each].idle and sizes.get(each) and each not in forgot]
        # Whoever was made to forget had been unused for longer than any idle lane that was not.
        assert not forgot or all(
            order.index(one) < order.index(other) for one in forgot if before.get(one) for other in kept_idle
        )
        assert working_sets.size == sum(sizes.values())
        assert working_sets.size <= 1_000 or not kept_idle
        assert 0 < working_sets.keep_bytes <= 500
        lane.idle = idle


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 3 * MIB), min_size=1, max_size=20),
    st.integers(0, 20 * MIB),
)
def test_watcher_is_given_little_until_it_has_read_much(taken: list[int], used: int) -> None:
    """What it is given next has a bound, which is small for who has taken little and where little is free."""
    asyncio.run(take_along(taken, used))


async def take_along(taken: list[int], used: int) -> None:
    """Let one watcher take messages while others leave so many bytes unread."""
    budget = FollowerBudget(32 * MIB, wait_seconds=1)
    await budget.enter(used)
    room = budget.room()
    for sequence, size in enumerate(taken):
        await room.hand_over(min(size, 32 * MIB - budget.used), sequence)
        room.taken()

        assert budget.used == used
        assert LEAST_BYTES <= room.allowance <= MOST_BYTES
        if sum(taken) < 8 * MIB or used >= 16 * MIB:
            assert room.allowance == LEAST_BYTES


async def test_watchers_that_read_nothing_keep_others_waiting_until_their_calls_end() -> None:
    """What was handed over counts until it is taken or the call has ended; who waits too long is refused."""
    budget = FollowerBudget(100, wait_seconds=0.01)
    stuck, other = budget.room(), budget.room()
    await stuck.hand_over(90, 1)
    with pytest.raises(ServerFull):
        await other.hand_over(20, 1)

    patient = FollowerBudget(100, wait_seconds=600)
    stuck, other = patient.room(), patient.room()
    await stuck.hand_over(90, 1)
    waiting = asyncio.ensure_future(other.hand_over(20, 1))
    await asyncio.sleep(0)
    assert not waiting.done()
    stuck.close()
    await waiting

    assert patient.used == 20
    stuck.close()  # twice is as good as once
    other.taken()
    assert patient.used == 0


@pytest.mark.parametrize("name", sorted(_TABLES))
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_pieces_of_a_table_are_all_of_it_in_order_and_each_is_bounded(name: str, data: st.DataObject) -> None:
    """By rows and by bytes, but for a single row that is larger than the bound by itself."""
    columns = _TABLES[name].values()
    long = [kind in {"text", "jsonb", "bytea"} for kind in columns]
    lengths = data.draw(st.lists(st.sampled_from([0, 10, 300 * KIB, 600 * KIB, 2 * MIB]), max_size=8))
    short = data.draw(st.sampled_from([0, 1, PIECE_ROWS - 1, PIECE_ROWS, PIECE_ROWS + 1]))
    row = tuple(None for _ in columns)
    texts = {length: b"x" * length for length in lengths}
    rows = [tuple(texts[length] if is_long else 1 for is_long in long) for length in lengths]
    table = [*rows, *[row] * short, *rows]

    cut = list(pieces(name, table))

    assert [each for piece in cut for each in piece] == table
    assert all(cut)
    for piece in cut:
        size = sum(len(value) for each in piece for value in each if isinstance(value, bytes))
        assert len(piece) == 1 or (size <= PIECE_BYTES and len(piece) <= PIECE_ROWS)
