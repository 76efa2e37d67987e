"""Own the quotas: how often tenants and callers may call, and how much of them may be under way."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger_server.domain.errors import (
    QuotaBytesUnderWay,
    QuotaCallsUnderWay,
    QuotaRateExceeded,
    Refused,
)
from ledger_server.identity import quotas as module
from ledger_server.identity.policy import Policy
from ledger_server.identity.quotas import BURST_SECONDS, MOST_SECONDS, Counted, Kind, Quota, Quotas

WIDE = Quota(calls_per_second=None, calls_under_way=1_000, bytes_under_way=1_000_000)
GAME, EDGE = "spiffe://d/game", "spiffe://d/edge"


class World:
    """Quotas, and a clock that is moved by hand."""

    def __init__(self, **quotas: Quota) -> None:
        self.now = 100.0
        self.told = quotas
        self.under_way: list[tuple[Counted, int]] = []
        self.quotas = Quotas(self.quota_of, lambda: self.now)

    def quota_of(self, kind: Kind, _: str) -> Quota:
        """Return the quota of a tenant or of a caller."""
        return self.told.get(kind, WIDE)

    def begin(self, tenant_id: str = "casino", caller: str = GAME, calls: int = 1, size: int = 10) -> str:
        """Begin a call, and return its refusal's name."""
        try:
            counted = self.quotas.begin((tenant_id, caller), calls=calls, size=size)
        except Refused as refused:
            return refused.reason.name
        self.under_way.append((counted, size))
        return ""

    def end(self, place: int = 0) -> None:
        """End a call, the first one unless another is meant."""
        counted, size = self.under_way.pop(place)
        self.quotas.end(counted, size=size)


def quota(**numbers: Any) -> Quota:
    """Return a wide quota with some numbers of its own."""
    given_numbers = {name: getattr(WIDE, name) for name in WIDE.__struct_fields__} | numbers
    return Quota(**given_numbers)


@pytest.mark.parametrize("kind", ["tenant", "caller"])
@pytest.mark.parametrize(
    ("narrow", "reason"),
    [
        ({"calls_under_way": 2}, "QUOTA_CALLS_UNDER_WAY"),
        ({"bytes_under_way": 25}, "QUOTA_BYTES_UNDER_WAY"),
        ({"calls_per_second": 2.0}, "QUOTA_RATE_EXCEEDED"),
    ],
)
def test_third_call_is_refused_for_its_own_reason(kind: str, narrow: dict[str, Any], reason: str) -> None:
    """Whose quota it is decides who else may call on: another tenant, or another caller."""
    world = World(**{kind: quota(**narrow)})
    assert [world.begin() for _ in range(3)] == ["", "", reason]
    other_caller, other_tenant = world.begin(caller=EDGE), world.begin(tenant_id="other")
    assert (other_caller, other_tenant) == ((reason, "") if kind == "tenant" else ("", reason))


def test_refusal_says_whose_quota_it_is_and_when_there_is_room() -> None:
    """So a caller knows whom to ask, and a client when to come again."""
    world = World(caller=quota(calls_per_second=4.0))
    for _ in range(4):
        assert not world.begin()
    world.now += 0.1
    world.begin()
    with pytest.raises(QuotaRateExceeded) as caught:
        world.quotas.begin(("casino", GAME), calls=1, size=0)
    assert caught.value.metadata == {"quota": "caller", "name": GAME, "limit": "4.0"}
    assert caught.value.retry_seconds is not None
    world.now += caught.value.retry_seconds
    assert not world.begin()


def test_ended_call_makes_room() -> None:
    """For as many calls and bytes as it had."""
    world = World(tenant=quota(calls_under_way=1, bytes_under_way=50))
    assert not world.begin(size=50)
    assert world.begin() == "QUOTA_CALLS_UNDER_WAY"
    world.end()
    assert not world.begin(size=40)


def test_call_larger_than_the_bound_begins_alone() -> None:
    """What a message may have is for others to say."""
    world = World(tenant=quota(bytes_under_way=50))
    assert not world.begin(size=500)
    assert world.begin(size=1) == "QUOTA_BYTES_UNDER_WAY"


def test_batch_counts_as_its_items() -> None:
    """It is taken whole, and the next one waits the longer."""
    world = World(tenant=quota(calls_per_second=20.0))
    assert not world.begin(calls=1_000)
    with pytest.raises(QuotaRateExceeded) as caught:
        world.quotas.begin(("casino", GAME), calls=1, size=0)
    assert caught.value.retry_seconds == pytest.approx(50.05 - BURST_SECONDS)


@given(st.lists(st.tuples(st.integers(1, 1_000), st.floats(0.01, 1_000)), min_size=1, max_size=20))
def test_nobody_waits_for_longer_than_a_minute(batches: list[tuple[int, float]]) -> None:
    """However much was used, and whatever the rate was by then."""
    current = [quota(calls_per_second=None)]
    quotas = Quotas(lambda *_: current[0], lambda: 0.0)
    counted = quotas.begin(("casino", GAME), calls=1, size=0)
    for calls, rate in batches:
        current[0] = quota(calls_per_second=rate)
        wait = quotas.wait(counted, calls=calls)
        assert wait <= MOST_SECONDS + 1 / rate


def test_refused_call_counts_nowhere() -> None:
    """Neither with the tenant that had room nor with the caller that had none."""
    world = World(caller=quota(calls_under_way=1), tenant=quota(calls_per_second=2.0))
    assert not world.begin()
    for _ in range(50):
        assert world.begin() == "QUOTA_CALLS_UNDER_WAY"
    world.end()
    assert not world.begin()


def test_stream_is_told_how_long_to_wait() -> None:
    """Its messages count in the rate of both, and are not refused."""
    world = World(tenant=quota(calls_per_second=2.0))
    counted = world.quotas.begin(("", GAME), calls=0, size=0)
    counted = world.quotas.name_tenant(counted, "casino")
    assert world.quotas.has_rate(counted)
    waits = []
    for _ in range(4):
        seconds = world.quotas.wait(counted, calls=1)
        waits.append(round(seconds, 3))
        if seconds:
            world.now += seconds
            assert not world.quotas.wait(counted, calls=1)
    assert waits == [0, 0, 0.5, 0.5]
    world.quotas.end(counted, size=0)
    world.now += 100
    assert not world.begin()


@pytest.mark.parametrize("caller", ["", GAME])
def test_stream_counts_with_the_tenant_that_it_names(caller: str) -> None:
    """From there on, and no longer where it was counted before."""
    world = World(tenant=quota(calls_under_way=1))
    first = world.quotas.begin(("", caller), calls=0, size=0)
    first = world.quotas.name_tenant(first, "casino")
    assert not world.quotas.has_rate(first)
    assert world.begin(caller=EDGE) == "QUOTA_CALLS_UNDER_WAY"
    second = world.quotas.begin(("", caller), calls=0, size=0)
    with pytest.raises(QuotaCallsUnderWay):
        world.quotas.name_tenant(second, "casino")
    world.quotas.end(second, size=0)
    world.quotas.end(first, size=0)
    assert not world.begin(caller=EDGE)


def test_names_that_nobody_knows_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever names callers make up; who has calls under way is never forgotten."""
    monkeypatch.setattr(module, "_MOST_REMEMBERED", 100)
    world = World(tenant=quota(calls_under_way=1, calls_per_second=0.001))
    assert not world.begin("casino", "")
    for number in range(10_000):
        assert not world.begin(f"unknown-{number}", "")
        world.end(1)
        assert world.quotas.remembered <= 101
        stream = world.quotas.begin(("", EDGE), calls=0, size=0)
        world.quotas.end(world.quotas.name_tenant(stream, f"named-{number}"), size=0)
        assert world.quotas.remembered <= 102
    assert world.begin("casino", "") == "QUOTA_CALLS_UNDER_WAY"


_names = st.sampled_from(["a", "b", "c"])
_callers = st.sampled_from(["", GAME, EDGE])
_steps = st.lists(
    st.tuples(_names, _callers, st.integers(1, 5), st.integers(0, 60), st.floats(0, 2), st.booleans()),
    max_size=80,
)


@given(_steps, st.floats(0.5, 5), st.integers(1, 4), st.integers(1, 100))
def test_no_order_of_calls_gets_more_than_the_quota(
    steps: list[tuple[str, str, int, int, float, bool]], rate: float, calls: int, size: int
) -> None:
    """In any time, by any mix of calls, tenants and callers; and nothing is left once all have ended."""
    own = Quota(calls_per_second=rate, calls_under_way=calls, bytes_under_way=size)
    world = World(tenant=own, caller=own)
    under_way: list[tuple[str, str, int]] = []
    let_in: dict[tuple[str, str], list[tuple[float, int]]] = {}
    for tenant_id, caller, items, sent, pause, end in steps:
        world.now += pause
        if end and under_way:
            world.end()
            del under_way[0]
        if not world.begin(tenant_id, caller, items, sent):
            under_way.append((tenant_id, caller, sent))
            for owner in (("tenant", tenant_id), *([("caller", caller)] if caller else [])):
                let_in.setdefault(owner, []).append((world.now, items))
        counts: Counter[tuple[str, str]] = Counter()
        sizes: Counter[tuple[str, str]] = Counter()
        for name, who, each in under_way:
            for owner in (("tenant", name), *([("caller", who)] if who else [])):
                counts[owner] += 1
                sizes[owner] += each
        assert all(count <= calls for count in counts.values())
        assert all(total <= size or min(total, 60) == total for total in sizes.values())
    for taken in let_in.values():
        for first, last in itertools.combinations_with_replacement(range(len(taken)), 2):
            items = sum(each for _, each in taken[first:last])  # the last one may be larger than the room
            assert items <= rate * (taken[last][0] - taken[first][0] + BURST_SECONDS) + 6
    for _ in under_way:
        world.end()
    world.now += 1_000
    for tenant_id, caller in itertools.product("abc", ["", GAME, EDGE]):
        for _ in range(2):
            world.now += 10
            assert not world.begin(tenant_id, caller, 1, size)
            world.end()


POLICY = b"""
[[rule]]
name = "all"
identities = ["**"]
methods = ["*"]
tenants = ["*"]

[[quota]]
name = "test tenants"
tenants = ["test-*"]
calls_per_second = 10

[[quota]]
name = "large test tenants"
tenants = ["test-large"]
calls_per_second = 50
calls_under_way = 7

[[quota]]
name = "edge"
identities = ["spiffe://d/edge"]
bytes_under_way = 5
"""


@pytest.mark.parametrize(
    ("kind", "name", "numbers"),
    [
        ("tenant", "casino", {}),
        ("tenant", "test-one", {"calls_per_second": 10}),
        ("tenant", "test-large", {"calls_per_second": 10, "calls_under_way": 7}),
        ("tenant", "spiffe://d/edge", {}),
        ("caller", "spiffe://d/edge", {"bytes_under_way": 5}),
        ("caller", "test-one", {}),
    ],
)
def test_policy_names_quotas_and_the_smallest_counts(kind: Kind, name: str, numbers: dict[str, Any]) -> None:
    """In whatever order they stand; what they leave out is as usual."""
    assert Policy(POLICY).quota(kind, name, WIDE) == quota(**numbers)


@pytest.mark.parametrize(
    "broken",
    [
        b'name = "x"',
        b'name = "x"\ntenants = ["a"]\nidentities = ["b"]',
        b'name = "x"\ntenants = []',
        b'name = "x"\ntenants = ["a"]\ncalls_per_second = 0',
        b'name = "x"\ntenants = ["a"]\ncalls_under_way = 0',
        b'name = "x"\ntenants = ["a"]\ncalls = 5',
    ],
)
def test_quota_that_means_nothing_is_refused(broken: bytes) -> None:
    """A policy with a typing error is not put in force."""
    with pytest.raises(ValueError, match=r"quota|expected|unknown|Expected"):
        Policy(POLICY + b"\n[[quota]]\n" + broken)


def test_every_refusal_of_a_quota_asks_to_come_again() -> None:
    """The clients' retries go by it."""
    for kind in (QuotaRateExceeded, QuotaCallsUnderWay, QuotaBytesUnderWay):
        assert kind().retry_seconds
