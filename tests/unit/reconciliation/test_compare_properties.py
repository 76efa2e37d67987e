"""Whole lives of payments: a faithful mirror is never reported, and each fault is, once and by its class."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ledger_server.domain.findings.discrepancy import Discrepancy, FindingClass
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.events import EventType
from ledger_server.domain.provider_record import ProviderRecord, ProviderRecordKind, RemoteState
from ledger_server.domain.reconciliation.payment_comparison import Comparison, compare
from ledger_server.domain.reconciliation.provider_side import level_of
from ledger_server.domain.reconciliation.scope import Scope
from tests.unit.reconciliation.lives import (
    DEPOSIT_ID,
    IDS,
    PAYMENT,
    Happening,
    Life,
    a_deposit,
    a_scope,
    a_withdrawal,
    deposits,
    hour,
    lives,
    with_amounts,
)

FEW = settings(max_examples=150, deadline=None)


@st.composite
def windows(draw: st.DrawFn) -> Scope:
    """Return any window, looked at as soon as it is over or any time later."""
    start = draw(st.floats(min_value=-30, max_value=400))
    end = start + draw(st.floats(min_value=0.1, max_value=400))
    now = hour(end) + draw(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=60)))
    return a_scope(start, end, now=now)


def looked_at(life: Life, scope: Scope) -> Comparison:
    """Return what a run over a window makes of a life."""
    return compare(IDS, life.ledger(), life.read(scope), scope)


def fingerprints(discrepancies: list[Discrepancy]) -> list[bytes]:
    """Return by which the discrepancies are known."""
    return sorted(each.fingerprint for each in discrepancies)


@settings(max_examples=600, deadline=None)
@given(life=lives(), scope=windows(), data=st.data())
def test_compare_faithful_mirror_reports_nothing(life: Life, scope: Scope, data: st.DataObject) -> None:
    """What both sides have alike is never reported, wherever the window lies and however it is listed."""
    records = life.read(scope)
    again = data.draw(st.lists(st.sampled_from(records), max_size=4)) if records else []
    shuffled = data.draw(st.permutations([*records, *again]))

    result = compare(IDS, life.ledger(), shuffled, scope)

    assert result.discrepancies == []
    assert (result.in_transit, result.verdicts) == (0, {})
    assert result.matched == sum(scope.covers(record.create_time) for record in records)


@pytest.mark.parametrize("late_minutes", range(-50, 51, 10))
@pytest.mark.parametrize("states_now", [False, True])
def test_compare_parts_at_either_end_of_a_window_reports_nothing(late_minutes: int, states_now: bool) -> None:
    """Two parts of one payment, which the provider dates a little earlier or later than we do."""
    parts = [
        Happening(
            kind=ProviderRecordKind.PAYMENT,
            event=EventType.PAYMENT_CAPTURED,
            ref=PAYMENT,
            object_ref=f"cap-{number}",
            hour=at,
            amount=1,
            told=1,
            payment_ref=PAYMENT,
            late_minutes=late_minutes,
        )
        for number, at in enumerate((100, 200))
    ]
    life = Life(begun=a_deposit(2), heard=(), listed=(), states_now=states_now).same_for_both(parts)
    for part in (100, 200):
        for minutes in range(-130, 131, 10):
            edge = part + minutes / 60
            for start, end in ((edge, 300), (-20, edge), (edge, 101), (199, edge)):
                if start < end:
                    scope = a_scope(start, end, now=hour(end))
                    assert looked_at(life, scope).discrepancies == [], (start, end)


@settings(max_examples=400, deadline=None)
@given(life=lives(), scope=windows(), data=st.data())
def test_compare_part_of_listing_reports_nothing(life: Life, scope: Scope, data: st.DataObject) -> None:
    """What an incomplete listing leaves out proves nothing, whichever part was read."""
    # Were states told as of each movement, a left-out return would look like no return.
    records = replace(life, states_now=True).read(scope)
    part = [record for record in records if data.draw(st.booleans())]

    result = compare(IDS, life.ledger(), part, msgspec.structs.replace(scope, complete=False))

    assert result.discrepancies == []


@settings(max_examples=200, deadline=None)
@given(life=lives(), scope=windows(), data=st.data())
def test_compare_unheard_life_while_young_is_in_transit(
    life: Life, scope: Scope, data: st.DataObject
) -> None:
    """Whatever the ledger has not heard of is in transit as long as the grace lasts."""
    heard = tuple(each for each in life.heard if data.draw(st.booleans()))
    patient = msgspec.structs.replace(scope, grace=timedelta(days=10_000), stale_after=timedelta(days=10_000))

    result = looked_at(replace(life, heard=heard), patient)

    # Of a payment in parts, only a part may have been heard of: then the amounts differ at once.
    assert {each.kind for each in result.discrepancies} <= {
        FindingClass.AMOUNT_MISMATCH,
        FindingClass.DUPLICATE_AT_PROVIDER,
    }
    inside = sum(patient.covers(record.create_time) for record in life.read(patient))
    assert result.matched + len(result.verdicts) >= inside


def standing(life: Life, of: Happening) -> int:
    """Return what a thing comes to in the end."""
    amounts = [each.amount for each in life.listed if (each.kind, each.ref) == (of.kind, of.ref)]
    return level_of(of.kind, amounts).standing


def by_part(life: Life) -> bool:
    """Whether both sides know all captures by the same names."""
    return all(each.ref == each.object_ref for each in life.heard if each.kind is ProviderRecordKind.PAYMENT)


def without(happenings: tuple[Happening, ...], of: Happening) -> tuple[Happening, ...]:
    """Return happenings without all of one thing."""
    return tuple(each for each in happenings if (each.kind, each.ref) != (of.kind, of.ref))


def check_fault(life: Life, expected: FindingClass, *, repaired: Life | None = None) -> Discrepancy:
    """Check that one discrepancy of that class is seen, and is the same one in any order and later."""
    scope = a_scope()
    result = looked_at(life, scope)

    assert [each.kind for each in result.discrepancies] == [expected]
    backwards = compare(IDS, life.ledger(), list(reversed(life.read(scope))), scope)
    assert backwards == result
    later = a_scope(-40, 9500, now=scope.now + timedelta(days=30))
    seen_again = looked_at(life, later)
    assert fingerprints(seen_again.discrepancies) == fingerprints(result.discrepancies)
    if repaired is not None:
        assert looked_at(repaired, scope).discrepancies == []
    return result.discrepancies[0]


def pick(data: st.DataObject, life: Life, *kinds: ProviderRecordKind) -> Happening:
    """Return one of a life's movements that stand in the end."""
    fitting = [each for each in life.listed if each.kind in kinds and standing(life, each) > 0]
    assume(fitting)
    return data.draw(st.sampled_from(fitting))


@FEW
@given(life=deposits(), data=st.data())
def test_compare_made_at_provider_unheard_is_missing_in_ledger(life: Life, data: st.DataObject) -> None:
    """A refund or dispute that stands and of which the ledger has heard nothing is missing there."""
    lost = pick(data, life, ProviderRecordKind.REFUND, ProviderRecordKind.DISPUTE)
    assume(lost.refund is None)

    check_fault(replace(life, heard=without(life.heard, lost)), FindingClass.MISSING_IN_LEDGER, repaired=life)


@FEW
@given(life=lives(), data=st.data())
def test_compare_booked_and_unlisted_is_missing_at_provider(life: Life, data: st.DataObject) -> None:
    """What stands in the ledger and is not listed at all is missing at the provider."""
    assume(by_part(life))
    lost = pick(
        data,
        life,
        ProviderRecordKind.PAYMENT,
        ProviderRecordKind.REFUND,
        ProviderRecordKind.DISPUTE,
        ProviderRecordKind.PAYOUT,
    )

    check_fault(
        replace(life, listed=without(life.listed, lost)), FindingClass.MISSING_AT_PROVIDER, repaired=life
    )


@FEW
@given(life=lives(), data=st.data(), difference=st.sampled_from([1, 5, 1000]))
def test_compare_another_amount_is_amount_mismatch(life: Life, data: st.DataObject, difference: int) -> None:
    """A thing of another amount on the two sides is one mismatch, by as little as one minor unit."""
    kinds = (
        ProviderRecordKind.PAYMENT,
        ProviderRecordKind.REFUND,
        ProviderRecordKind.DISPUTE,
        ProviderRecordKind.PAYOUT,
    )
    wrong = pick(data, life, *kinds)

    found = check_fault(
        replace(life, listed=with_amounts(life.listed, wrong, difference)),
        FindingClass.AMOUNT_MISMATCH,
        repaired=life,
    )

    assert found.ledger is not None
    assert found.remote is not None


@FEW
@given(life=lives(), data=st.data())
def test_compare_another_currency_is_currency_mismatch(life: Life, data: st.DataObject) -> None:
    """A thing in another currency on the two sides is one mismatch."""
    assume(by_part(life))
    wrong = pick(
        data,
        life,
        ProviderRecordKind.PAYMENT,
        ProviderRecordKind.REFUND,
        ProviderRecordKind.DISPUTE,
        ProviderRecordKind.PAYOUT,
    )
    listed = tuple(
        replace(each, currency="USD") if (each.kind, each.ref) == (wrong.kind, wrong.ref) else each
        for each in life.listed
    )

    check_fault(replace(life, listed=listed), FindingClass.CURRENCY_MISMATCH, repaired=life)


@FEW
@given(life=lives(), data=st.data(), ours=st.booleans())
def test_compare_last_turn_on_one_side_is_status_mismatch(
    life: Life, data: st.DataObject, ours: bool
) -> None:
    """A thing that came back, or succeeded again, on one side alone is a mismatch of its state."""
    assume(by_part(life))
    kinds = (ProviderRecordKind.PAYMENT, ProviderRecordKind.REFUND, ProviderRecordKind.PAYOUT)
    turned = [each for each in life.listed if each.kind in kinds and _turns(life, each) > 1]
    assume(turned)
    thing = data.draw(st.sampled_from(turned))
    last = max((each for each in life.listed if each.ref == thing.ref), key=lambda each: each.hour)
    faulty = (
        replace(life, listed=_less(life.listed, last))
        if ours
        else replace(life, heard=_less(life.heard, last))
    )

    check_fault(faulty, FindingClass.STATUS_MISMATCH, repaired=life)


def _turns(life: Life, thing: Happening) -> int:
    return sum((each.kind, each.ref) == (thing.kind, thing.ref) for each in life.listed)


def _less(happenings: tuple[Happening, ...], lost: Happening) -> tuple[Happening, ...]:
    return tuple(each for each in happenings if each is not lost)


@FEW
@given(life=lives())
def test_compare_main_movement_unheard_is_status_mismatch(life: Life) -> None:
    """A payment that the provider has done and the ledger waits for is one mismatch, whatever came of it."""
    main = (ProviderRecordKind.PAYMENT, ProviderRecordKind.PAYOUT)
    assume(any(standing(life, each) > 0 for each in life.listed if each.kind in main))
    heard = tuple(each for each in life.heard if each.kind not in main)

    check_fault(replace(life, heard=heard), FindingClass.STATUS_MISMATCH, repaired=life)


@FEW
@given(life=lives(), data=st.data())
def test_compare_done_again_is_duplicate_at_provider(life: Life, data: st.DataObject) -> None:
    """What the provider has done once more for one id of ours is a duplicate, early or late."""
    named = [each for each in life.listed if each.our_id and standing(life, each) > 0]
    fitting = [
        each for each in named if each.kind not in (ProviderRecordKind.FEE, ProviderRecordKind.DISPUTE)
    ]
    assume(fitting)
    thing = data.draw(st.sampled_from(fitting))
    sign = 1 if thing.kind is ProviderRecordKind.PAYMENT else -1
    again = replace(
        thing,
        ref="again",
        payment_ref="again" if thing.kind is not ProviderRecordKind.REFUND else PAYMENT,
        hour=data.draw(st.integers(min_value=1, max_value=800)),
        amount=sign * abs(thing.amount),
        event=next(each.event for each in life.listed if each.ref == thing.ref),
    )

    found = check_fault(
        replace(life, listed=(*life.listed, again)), FindingClass.DUPLICATE_AT_PROVIDER, repaired=life
    )

    assert found.remote is not None


@FEW
@given(life=lives(), data=st.data(), difference=st.sampled_from([-1, 1]))
def test_compare_another_fee_is_fee_mismatch(life: Life, data: st.DataObject, difference: int) -> None:
    """A fee that differs by one, or is known to one side alone, is a mismatch of the payment's fees."""
    fees = [each for each in life.listed if each.kind is ProviderRecordKind.FEE]
    assume(fees)
    fee = data.draw(st.sampled_from(fees))
    faulty = data.draw(
        st.sampled_from(
            [
                replace(life, listed=_less(life.listed, fee)),
                replace(life, heard=_less(life.heard, fee)),
                replace(
                    life,
                    listed=(*_less(life.listed, fee), replace(fee, amount=fee.amount - 4 * difference)),
                ),
            ]
        )
    )

    check_fault(faulty, FindingClass.FEE_MISMATCH, repaired=life)


@FEW
@given(life=lives(), at=st.integers(min_value=0, max_value=800))
def test_compare_type_nobody_knows_is_unknown_record_type(life: Life, at: int) -> None:
    """A record of a type that nobody here knows is reported beside what matches."""
    scope = a_scope()
    strange = ProviderRecord(
        kind=ProviderRecordKind.UNKNOWN,
        record_id="x-1",
        provider_ref="x-1",
        our_id=DEPOSIT_ID,
        state=RemoteState.SUCCEEDED,
        amount=5,
        currency="EUR",
        create_time=hour(at),
        provider_type="climate_removal",
        payment_ref="",
        batch="",
    )

    result = compare(IDS, life.ledger(), [*life.records(), strange], scope)

    assert [each.kind for each in result.discrepancies] == [FindingClass.UNKNOWN_RECORD_TYPE]


@FEW
@given(life=lives())
def test_compare_second_payment_of_one_ref_is_duplicate_in_ledger(life: Life) -> None:
    """A payment whose provider ref is another one's is reported once, and nothing else is said of it."""
    result = compare(IDS, life.ledger(), life.records(), a_scope(), twin=3)

    assert [each.kind for each in result.discrepancies] == [FindingClass.DUPLICATE_IN_LEDGER]


@FEW
@given(started=st.sampled_from([a_deposit(), a_withdrawal()]), days=st.floats(min_value=0, max_value=3))
def test_compare_nothing_heard_and_nothing_listed_is_stale_after_a_day(started: Deposit, days: float) -> None:
    """What neither side knows the end of is in transit for a day, and stale afterwards."""
    now: datetime = hour(0) + timedelta(days=days)

    result = compare(IDS, started, [], a_scope(now=now))

    stale = [FindingClass.STALE_PENDING] if days >= 1 else []
    assert [each.kind for each in result.discrepancies] == stale
    assert result.in_transit == 1 - len(stale)


@FEW
@given(life=lives(), data=st.data(), complete=st.booleans(), scope=windows())
def test_compare_incomplete_never_reports_missing_at_provider(
    life: Life, data: st.DataObject, complete: bool, scope: Scope
) -> None:
    """Whatever else is wrong, an incomplete listing never makes anything missing at the provider."""
    heard = tuple(each for each in life.heard if data.draw(st.booleans()))
    listed = tuple(each for each in life.listed if data.draw(st.booleans()))
    broken = replace(life, heard=heard, listed=listed)
    partial = msgspec.structs.replace(scope, complete=complete)

    found = looked_at(broken, partial).discrepancies

    assert complete or FindingClass.MISSING_AT_PROVIDER not in {each.kind for each in found}
    assert len(set(fingerprints(found))) == len(found), "different faults of one payment are different"
    for each in found:
        assert each.kind is FindingClass.STALE_PENDING or scope.covers(each.subject_time)


@FEW
@given(life=deposits(), data=st.data())
def test_compare_any_faults_in_any_order_are_the_same(life: Life, data: st.DataObject) -> None:
    """Whatever is wrong, the order of the records changes nothing."""
    heard = tuple(each for each in life.heard if data.draw(st.booleans()))
    broken = replace(life, heard=heard)
    scope = a_scope()
    records = broken.records()

    shuffled = data.draw(st.permutations(records))

    assert compare(IDS, broken.ledger(), shuffled, scope) == compare(IDS, broken.ledger(), records, scope)


@FEW
@given(life=lives(), data=st.data(), hours=st.sampled_from([7, 24, 100]))
def test_compare_window_after_window_finds_what_one_window_does(
    life: Life, data: st.DataObject, hours: int
) -> None:
    """A fault is found by the run of its own window as well, and by no other one as something else."""
    assume(by_part(life))
    wrong = pick(
        data,
        life,
        ProviderRecordKind.PAYMENT,
        ProviderRecordKind.REFUND,
        ProviderRecordKind.DISPUTE,
        ProviderRecordKind.PAYOUT,
    )
    faulty = data.draw(
        st.sampled_from([with_amounts(life.listed, wrong, 1), without(life.listed, wrong)]), label="listed"
    )
    broken = replace(life, listed=faulty)

    found = set()
    for start in range(-24, 1000, hours):
        found |= set(fingerprints(looked_at(broken, a_scope(start, start + hours)).discrepancies))

    assert found == set(fingerprints(looked_at(broken, a_scope()).discrepancies))
    assert len(found) == 1
