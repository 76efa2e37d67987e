"""Own payments' lives: what happened, as the ledger heard of it and as the provider lists it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from hypothesis import strategies as st

from ledger_server.domain.ids import TenantId, TenantIds, tenant_key
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.events import EventType, with_deposit_event, with_withdrawal_event
from ledger_server.domain.payments.knowledge import CallState, Refund
from ledger_server.domain.payments.withdrawal import Approval, Withdrawal, WithdrawalState
from ledger_server.domain.provider_record import ProviderRecord, ProviderRecordKind, RemoteState
from ledger_server.domain.reconciliation.scope import EDGE, Scope
from tests.support.payments import NOW, PLAYER, PROVIDER, an_event

IDS: Final = TenantIds(tenant_key(TenantId("unit")))
NUMBER: Final = 7
DEPOSIT_ID: Final = IDS.deposit_id(NUMBER)
WITHDRAWAL_ID: Final = IDS.withdrawal_id(NUMBER)
PAYMENT: Final = "pay-1"
PAYOUT: Final = "po-1"
ALL_KINDS: Final = frozenset(ProviderRecordKind)
LATER: Final = NOW + timedelta(days=400)


def hour(number: float) -> datetime:
    """Return a time at the provider, in hours after the ledger's own."""
    return NOW + timedelta(hours=number)


def a_scope(
    from_hour: float = -24, to_hour: float = 9000, *, now: datetime = LATER, complete: bool = True
) -> Scope:
    """Return a window, by default one that all lives lie in, looked at long after."""
    return Scope(
        from_time=hour(from_hour), to_time=hour(to_hour), now=now, complete=complete, listed=ALL_KINDS
    )


def a_deposit(amount: int = 1000, *, ref: str = PAYMENT, refunds: tuple[Refund, ...] = ()) -> Deposit:
    """Return a deposit of which nothing is known yet; `refunds` were asked for from the inside."""
    return Deposit(
        number=NUMBER,
        player_id=PLAYER,
        provider=PROVIDER,
        provider_ref=ref,
        amount=amount,
        currency="EUR",
        hold=1,
        call_state=CallState.NONE,
        reference="",
        metadata={},
        initiate_time=NOW,
        update_time=NOW,
        balance_after=0,
        refunds=refunds,
        authorized=False,
        closed=False,
        failed=False,
        failure_reason="",
        payment_url="",
        payment_ref="",
        attempts=(),
        captures=(),
        disputes=(),
        fees=(),
        personal=b"",
    )


def a_withdrawal(
    amount: int = 500, *, ref: str = PAYOUT, review: WithdrawalState = WithdrawalState.APPROVED
) -> Withdrawal:
    """Return a withdrawal that was approved, and of which nothing more is known."""
    return Withdrawal(
        number=NUMBER,
        player_id=PLAYER,
        provider=PROVIDER,
        provider_ref=ref,
        amount=amount,
        currency="EUR",
        destination="iban",
        hold=1,
        review=review,
        call_state=CallState.ACCEPTED,
        reference="",
        metadata={},
        request_time=NOW,
        update_time=NOW,
        balance_after=0,
        approvals=(Approval(reviewer="rita", time=NOW, note="", identity=""),),
        reviewer="",
        reason="",
        paid=0,
        paid_time=None,
        fail_time=None,
        payouts=(),
        hold_ended=False,
        fees=(),
        personal=b"",
        claim=None,
        notes=(),
    )


def an_asked_refund(number: int, amount: int, ref: str = "") -> Refund:
    """Return a refund that was asked for from the inside."""
    return Refund(
        number=number,
        provider_ref=ref,
        amount=amount,
        hold=2,
        call_state=CallState.PENDING,
        told=0,
        reason="",
        succeed_time=None,
        fail_time=None,
        others=(),
        hold_ended=False,
        payment_ref="",
    )


@dataclass(frozen=True, kw_only=True)
class Happening:
    """One movement: what the provider lists of it, and the event that tells of it.

    Attributes:
        ref: the provider's id of what moved.
        object_ref: by which name the event tells of it.
        amount: what moved; minor units, signed as seen from our account there.
        told: what the event tells, where that is not what moved.
        late_minutes: how much later than the event the provider says that it happened.
    """

    kind: ProviderRecordKind
    event: EventType
    ref: str
    object_ref: str
    hour: float
    amount: int
    told: int | None = None
    our_id: str = ""
    payment_ref: str = ""
    refund: int | None = None
    stage: str = ""
    late_minutes: int = 0
    currency: str = "EUR"

    @property
    def came_back(self) -> bool:
        """Whether it took back what had succeeded."""
        return self.event in (EventType.CAPTURE_FAILED, EventType.REFUND_FAILED, EventType.PAYOUT_FAILED)


@dataclass(frozen=True, kw_only=True)
class Life:
    """A payment's life.

    Attributes:
        begun: the payment before anything happened at the provider.
        heard, listed: what happened, as each side has it: the same, if nothing went wrong.
        states_now: whether a record shows where its object stands now, or where it stood by that movement.
    """

    begun: Deposit | Withdrawal
    heard: tuple[Happening, ...]
    listed: tuple[Happening, ...]
    states_now: bool = True

    def ledger(self) -> Deposit | Withdrawal:
        """Return the payment as the ledger knows it."""
        payment = self.begun
        for each in self.heard:
            event = an_event(
                each.event,
                abs(each.amount) if each.told is None else each.told,
                ref=each.payment_ref,
                object_ref=each.object_ref,
                refund=each.refund,
                at=round(each.hour * 60),
                stage=each.stage,
            )
            if isinstance(payment, Deposit):
                payment = with_deposit_event(payment, event)
            else:
                payment = with_withdrawal_event(payment, event)
        return payment

    def records(self) -> list[ProviderRecord]:
        """Return all that the provider lists of it."""
        ends = {(each.kind, each.ref): each for each in sorted(self.listed, key=lambda each: each.hour)}
        records = []
        for each in self.listed:
            shown = ends[each.kind, each.ref] if self.states_now else each
            records.append(
                ProviderRecord(
                    kind=each.kind,
                    record_id=f"{each.ref}@{each.hour}",
                    provider_ref=each.ref,
                    payment_ref=each.payment_ref,
                    our_id=each.our_id,
                    state=RemoteState.FAILED if shown.came_back else RemoteState.SUCCEEDED,
                    amount=each.amount,
                    currency=each.currency,
                    create_time=hour(each.hour) + timedelta(minutes=each.late_minutes),
                    provider_type=each.event.name.lower(),
                    batch="",
                )
            )
        return records

    def read(self, scope: Scope) -> list[ProviderRecord]:
        """Return what a run over a window reads of it."""
        return read(self.records(), scope)

    def same_for_both(self, happenings: Iterable[Happening]) -> Life:
        """Return the life with these happenings, known to both sides."""
        both = tuple(happenings)
        return replace(self, heard=both, listed=both)


def read(records: Iterable[ProviderRecord], scope: Scope) -> list[ProviderRecord]:
    """Return what a run over a window reads of records."""
    return [
        record for record in records if scope.from_time - EDGE <= record.create_time < scope.to_time + EDGE
    ]


AMOUNTS: Final = st.integers(min_value=1, max_value=900)


class Clock:
    """Gives each happening an hour of its own, so far from the last that two clocks agree on the order."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self._hour = 0

    def next(self) -> tuple[int, int]:
        """Return the next hour, and by how many minutes the provider's clock is off."""
        self._hour += self._draw(st.integers(min_value=3, max_value=60))
        return self._hour, self._draw(st.integers(min_value=-50, max_value=50))


_IN_AND_OUT: Final = {
    ProviderRecordKind.PAYMENT: (1, EventType.PAYMENT_CAPTURED, EventType.CAPTURE_FAILED),
    ProviderRecordKind.REFUND: (-1, EventType.REFUND_SUCCEEDED, EventType.REFUND_FAILED),
    ProviderRecordKind.PAYOUT: (-1, EventType.PAYOUT_PAID, EventType.PAYOUT_FAILED),
}


def turns(thing: Happening, count: int, clock: Clock) -> list[Happening]:
    """Return a thing that succeeded, came back, succeeded again, and so on: `count` movements."""
    sign, done, undone = _IN_AND_OUT[thing.kind]
    happened = []
    for turn in range(count):
        at, late = clock.next()
        back = turn % 2 == 1
        amount = thing.amount * sign * (-1 if back else 1)
        event = undone if back else done
        happened.append(replace(thing, hour=at, late_minutes=late, amount=amount, event=event))
    return happened


@st.composite
def deposits(draw: st.DrawFn) -> Life:
    """Return a deposit's life: captures, refunds, disputes and fees, all known to both sides."""
    clock = Clock(draw)
    happened = _captures(draw, clock)
    asked = []
    for number in range(draw(st.integers(min_value=0, max_value=3))):
        amount, ours = draw(AMOUNTS), draw(st.booleans())
        refund_number = 20 + number if ours else None
        thing = Happening(
            kind=ProviderRecordKind.REFUND,
            event=EventType.REFUND_SUCCEEDED,
            ref=f"re-{number}",
            object_ref=f"re-{number}",
            hour=0,
            amount=amount,
            our_id="" if refund_number is None else IDS.refund_id(refund_number),
            payment_ref=PAYMENT,
            refund=refund_number,
        )
        if refund_number is not None:
            known_ref = draw(st.sampled_from(["", thing.ref]))
            asked.append(an_asked_refund(refund_number, amount, known_ref))
        happened += turns(thing, draw(st.integers(min_value=1, max_value=4)), clock)
    happened += _disputes(draw, clock)
    happened += _fees(draw, clock, PAYMENT)
    happened.sort(key=lambda each: each.hour)
    begun = a_deposit(sum(each.amount for each in happened if each.amount > 0), refunds=tuple(asked))
    return Life(begun=begun, heard=(), listed=(), states_now=draw(st.booleans())).same_for_both(happened)


def _captures(draw: st.DrawFn, clock: Clock) -> list[Happening]:
    count = draw(st.integers(min_value=1, max_value=3))
    heard_whole, listed_whole = draw(st.booleans()), draw(st.booleans())
    happened: list[Happening] = []
    total = 0
    for number in range(count):
        amount = draw(AMOUNTS)
        total += amount
        ref = f"cap-{number}"
        thing = Happening(
            kind=ProviderRecordKind.PAYMENT,
            event=EventType.PAYMENT_CAPTURED,
            ref=PAYMENT if listed_whole else ref,
            object_ref="" if heard_whole else ref,
            hour=0,
            amount=amount,
            # Of a whole, the sum is told.
            told=total if heard_whole else amount,
            our_id=draw(st.sampled_from(["", DEPOSIT_ID])),
            payment_ref=PAYMENT,
        )
        alone = count == 1 or not (heard_whole or listed_whole)
        happened += turns(thing, draw(st.integers(min_value=1, max_value=5)) if alone else 1, clock)
    return happened


def _disputes(draw: st.DrawFn, clock: Clock) -> list[Happening]:
    happened = []
    for number in range(draw(st.integers(min_value=0, max_value=2))):
        amount = draw(AMOUNTS)
        for stage in draw(st.sampled_from([("",), ("chargeback", "second")])):
            for event in draw(st.sampled_from([_TAKEN, (*_TAKEN, EventType.DISPUTE_FUNDS_REINSTATED)])):
                at, late = clock.next()
                happened.append(
                    Happening(
                        kind=ProviderRecordKind.DISPUTE,
                        event=event,
                        ref=f"dp-{number}",
                        object_ref=f"dp-{number}",
                        hour=at,
                        amount=-amount if event in _TAKEN else amount,
                        our_id=DEPOSIT_ID,
                        payment_ref=PAYMENT,
                        stage=stage,
                        late_minutes=late,
                    )
                )
    return happened


_TAKEN: Final = (EventType.DISPUTE_FUNDS_WITHDRAWN,)


def _fees(draw: st.DrawFn, clock: Clock, payment_ref: str) -> list[Happening]:
    happened = []
    count = draw(st.integers(min_value=0, max_value=3))
    named = draw(st.booleans())
    for number in range(count):
        at, late = clock.next()
        happened.append(
            Happening(
                kind=ProviderRecordKind.FEE,
                event=EventType.FEE_CHARGED,
                ref=f"fee-{number}",
                # Only one fee without a ref can be told.
                object_ref=f"fee-{number}" if named or number else "",
                hour=at,
                amount=-draw(st.integers(min_value=1, max_value=3)),
                our_id=DEPOSIT_ID if payment_ref == PAYMENT else WITHDRAWAL_ID,
                payment_ref=payment_ref,
                late_minutes=late,
            )
        )
    return happened


@st.composite
def withdrawals(draw: st.DrawFn) -> Life:
    """Return a withdrawal's life: paid, returned, paid again, with fees, all known to both sides."""
    clock = Clock(draw)
    amount = draw(AMOUNTS)
    thing = Happening(
        kind=ProviderRecordKind.PAYOUT,
        event=EventType.PAYOUT_PAID,
        ref=PAYOUT,
        object_ref="",
        hour=0,
        amount=amount,
        our_id=draw(st.sampled_from(["", WITHDRAWAL_ID])),
        payment_ref=PAYOUT,
    )
    happened = turns(thing, draw(st.integers(min_value=1, max_value=5)), clock)
    happened += _fees(draw, clock, PAYOUT)
    begun = a_withdrawal(amount, ref=draw(st.sampled_from(["", PAYOUT])))
    return Life(begun=begun, heard=(), listed=(), states_now=draw(st.booleans())).same_for_both(happened)


def lives() -> st.SearchStrategy[Life]:
    """Return payments of either sort."""
    return st.one_of(deposits(), withdrawals())


def with_amounts(happenings: Sequence[Happening], of: Happening, difference: int) -> tuple[Happening, ...]:
    """Return happenings in which one thing has moved more, each way."""
    return tuple(
        replace(each, amount=each.amount + (difference if each.amount > 0 else -difference))
        if (each.kind, each.ref) == (of.kind, of.ref)
        else each
        for each in happenings
    )
