"""Own the rules of comparing balances: a table of what differs, and a model for everything together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger_server.domain.findings.discrepancy import Discrepancy
from ledger_server.domain.reconciliation.balance_comparison import (
    BUCKETS,
    Balance,
    Bucket,
    Drift,
    DriftKind,
    Moment,
    compare,
    discrepancy_of,
    fingerprint_of,
    kind_of,
    place,
)

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
DRIFTED, HERE, THERE = DriftKind.DRIFTED, DriftKind.MISSING_HERE, DriftKind.MISSING_THERE


@pytest.mark.parametrize(
    ("ledger", "snapshot", "kind"),
    [
        (None, None, None),
        (0, None, None),
        (None, 0, None),
        (0, 0, None),
        (5, 5, None),
        (-5, -5, None),
        (5, 4, DRIFTED),
        (5, -5, DRIFTED),
        (5, 0, DRIFTED),
        (0, 5, DRIFTED),
        (None, 5, HERE),
        (None, -5, HERE),
        (5, None, THERE),
        (-5, None, THERE),
    ],
)
def test_compare_amounts_tells_how_they_differ(
    ledger: int | None, snapshot: int | None, kind: DriftKind | None
) -> None:
    """Nothing is as much as zero; debts count as money does."""
    assert kind_of(ledger, snapshot) is kind


AMOUNT = st.one_of(st.none(), st.integers(-3, 3))
SIDE = st.dictionaries(
    st.tuples(st.sampled_from(["7", "71", "7-", "a"]), st.sampled_from(["EUR", "USD"])),
    st.tuples(AMOUNT, AMOUNT),
    max_size=8,
)


@given(SIDE, SIDE, st.sampled_from([BUCKETS, (Bucket.REAL,), (Bucket.BONUS,)]))
def test_compare_sides_is_what_a_simple_model_says(
    ledger: dict[tuple[str, str], tuple[int | None, int | None]],
    snapshot: dict[tuple[str, str], tuple[int | None, int | None]],
    buckets: tuple[Bucket, ...],
) -> None:
    """Each bucket by itself: what differs is told with its difference, in order, and as nothing else."""
    here = [Balance(*name, *amounts) for name, amounts in ledger.items()]
    there = [Balance(*name, *amounts) for name, amounts in snapshot.items()]

    compared = compare(here, there, buckets)

    model: dict[tuple[str, str, Bucket], int] = {}
    for name in ledger.keys() | snapshot.keys():
        for bucket in buckets:
            mine = ledger.get(name, (None, None))[bucket - 1] or 0
            told = snapshot.get(name, (None, None))[bucket - 1] or 0
            if mine != told:
                model[*name, bucket] = told - mine
    found = {(each.player_id, each.currency, each.bucket): each.difference for each in compared.drifts}
    assert found == model
    order = [(*place(each.player_id, each.currency), each.bucket) for each in compared.drifts]
    assert order == sorted(order)
    equal = {(each.player_id, each.currency, bucket) for each, bucket in compared.equal}
    assert equal.isdisjoint(found)


@given(SIDE, SIDE, st.integers(0, 3))
def test_compare_in_two_stretches_is_as_in_one(
    ledger: dict[tuple[str, str], tuple[int | None, int | None]],
    snapshot: dict[tuple[str, str], tuple[int | None, int | None]],
    cut: int,
) -> None:
    """However players are divided, nothing is told twice or left out."""
    sides = [[Balance(*name, *amounts) for name, amounts in side.items()] for side in (ledger, snapshot)]
    border = sorted(["7", "71", "7-", "a"], key=lambda player: place(player, ""))[cut]

    def part(balances: list[Balance], *, low: bool) -> list[Balance]:
        return [each for each in balances if (place(each.player_id, "") <= place(border, "")) is low]

    whole = compare(sides[0], sides[1])
    halves = [compare(part(sides[0], low=low), part(sides[1], low=low)) for low in (True, False)]
    assert [drift for half in halves for drift in half.drifts] == list(whole.drifts)


def drift(**changed: object) -> Discrepancy:
    """Return a difference as findings have it."""
    fields: dict[str, object] = {"player_id": "a", "currency": "EUR", "bucket": Bucket.REAL, "kind": DRIFTED}
    fields |= {"ledger": 50, "snapshot": 55, "source": "legacy", "moment": NOON} | changed
    source, moment = str(fields.pop("source")), fields.pop("moment")
    assert isinstance(moment, datetime)
    return discrepancy_of(Drift(**fields), source, moment, sequence=9, since=3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "same_finding", "same_facts"),
    [
        ({"moment": NOON + timedelta(days=1)}, True, True),
        ({"ledger": 60, "snapshot": 65}, True, True),
        ({"snapshot": 56}, True, False),
        ({"ledger": 55, "snapshot": 50}, True, False),
        ({"ledger": None, "snapshot": 5, "kind": HERE}, True, False),
        ({"ledger": -5, "snapshot": None, "kind": THERE}, True, False),
        ({"player_id": "b"}, False, False),
        ({"currency": "USD"}, False, False),
        ({"bucket": Bucket.BONUS}, False, False),
        ({"source": "other"}, False, False),
    ],
)
def test_see_drift_again_is_the_same_by_its_difference(
    changed: dict[str, object], same_finding: bool, same_facts: bool
) -> None:
    """A player's bucket is one finding; its fact is the difference, and whether a side has nothing."""
    first, other = drift(), drift(**changed)
    assert (first.fingerprint == other.fingerprint) is same_finding
    assert first.says_the_same(other) is same_facts


def test_fingerprint_of_an_equal_bucket_is_that_of_its_finding() -> None:
    """What is equal again is found by the name of what it was when it differed."""
    balance = Balance("a", "EUR", 1, 2)
    for bucket in BUCKETS:
        assert fingerprint_of(balance, bucket, "legacy", NOON) == drift(bucket=bucket).fingerprint


def test_other_classes_are_the_same_by_all_their_facts() -> None:
    """The rule of drift is drift's alone."""
    seen = drift()
    assert not replace(seen, kind=seen.kind.AMOUNT_MISMATCH).says_the_same(seen)


LATER = NOON + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("one", "other", "before"),
    [
        (Moment(1, None), Moment(2, None), True),
        (Moment(2, None), Moment(1, None), False),
        (Moment(2, NOON), Moment(1, LATER), False),
        (Moment(1, NOON), Moment(1, NOON), False),
        (Moment(1, NOON), Moment(1, LATER), True),
        (Moment(1, LATER), Moment(1, NOON), False),
        (Moment(1, NOON), Moment(1, None), False),
        (Moment(1, None), Moment(1, NOON), False),
    ],
)
def test_order_moments_by_record_then_by_instant(one: Moment, other: Moment, before: bool) -> None:
    """Only what is known to be earlier is; the same moment may be compared again."""
    assert one.is_before(other) is before
