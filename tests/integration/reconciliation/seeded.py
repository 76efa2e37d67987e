"""Own the faults that are hidden among payments: one way of making each, and what it should be found as."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from msgspec.structs import replace

from ledger_server.domain.findings.discrepancy import FindingClass
from ledger_server.domain.payments.events import EventType
from ledger_server.domain.provider_record import ProviderRecord, ProviderRecordKind, RemoteState
from tests.support.mirrored_payments import CURRENCY, Life, Mirror

Place = tuple[FindingClass, str]


@dataclass
class Fault:
    """Something that does not agree.

    Attributes:
        lives: the payments that the ledger has.
        extra: records that belong to none of them.
        repaired: what the provider lists for them when the fault is gone; None: as the lives' events have it.
        worse: what it lists when it is broken in another way that is found as the same.
        place: the class, and the payment or object that the finding must name.
    """

    place: Place
    lives: list[Life] = field(default_factory=list)
    extra: list[ProviderRecord] = field(default_factory=list)
    good: list[ProviderRecord] = field(default_factory=list)
    worse: list[ProviderRecord] = field(default_factory=list)

    @property
    def records(self) -> list[ProviderRecord]:
        """What the provider lists."""
        return [record for life in self.lives for record in life.records] + self.extra


def captured(mirror: Mirror, begin_time: datetime) -> Life:
    """Make a deposit that was captured at once, with a fee."""
    life = mirror.begin(begin_time, mirror.random.randint(500, 50_000))
    mirror.happen(life, EventType.PAYMENT_CAPTURED, life.amount, 2, object_ref=mirror.new_ref("cap"))
    mirror.happen(life, EventType.FEE_CHARGED, 25, 3, object_ref=mirror.new_ref("fee"))
    return life


def paid(mirror: Mirror, begin_time: datetime) -> Life:
    """Make a withdrawal that was paid."""
    life = mirror.begin(begin_time, mirror.random.randint(500, 50_000), withdrawal=True)
    mirror.happen(life, EventType.PAYOUT_PAID, life.amount, 5)
    return life


def of(mirror: Mirror, kind: FindingClass, life: Life, **changes: object) -> Fault:
    """Return a fault in one life, whose first record lists something else."""
    good = list(life.records)
    life.records = [replace(good[0], **changes), *good[1:]]
    return Fault(place=(kind, mirror.payment_id(life)), lives=[life], good=good)


def _missing_in_ledger(mirror: Mirror, begin_time: datetime, number: int) -> Fault:
    life = captured(mirror, begin_time)
    good = list(life.records)
    if number % 3 == 0:
        mirror.happen(life, EventType.REFUND_SUCCEEDED, 100, 30, object_ref=mirror.new_ref("ref"))
    elif number % 3 == 1:
        mirror.happen(life, EventType.DISPUTE_FUNDS_WITHDRAWN, 100, 30, object_ref=mirror.new_ref("dsp"))
    else:
        stranger = replace(good[0], record_id=mirror.new_ref("mov"), provider_ref=mirror.new_ref("cap"))
        stranger = replace(stranger, payment_ref=mirror.new_ref("pay"), our_id="")
        place = (FindingClass.MISSING_IN_LEDGER, stranger.provider_ref)
        return Fault(place=place, lives=[life], extra=[stranger], good=good)
    life.unheard.add(len(life.events) - 1)
    place = (FindingClass.MISSING_IN_LEDGER, mirror.payment_id(life))
    worse = [*good, replace(life.records[-1], amount=-150)]
    return Fault(place=place, lives=[life], good=good, worse=worse)


def _missing_at_provider(mirror: Mirror, begin_time: datetime, number: int) -> Fault:
    life = paid(mirror, begin_time) if number % 2 else captured(mirror, begin_time)
    good = list(life.records)
    life.records = good[1:]
    place = (FindingClass.MISSING_AT_PROVIDER, mirror.payment_id(life))
    return Fault(place=place, lives=[life], good=good)


def _amount(mirror: Mirror, begin_time: datetime, number: int) -> Fault:
    life = paid(mirror, begin_time) if number % 2 else captured(mirror, begin_time)
    amount = life.records[0].amount or 0
    found = of(mirror, FindingClass.AMOUNT_MISMATCH, life, amount=amount - 1 - number)
    found.worse = [replace(found.good[0], amount=amount + 7), *found.good[1:]]
    return found


def _currency(mirror: Mirror, begin_time: datetime, number: int) -> Fault:
    life = paid(mirror, begin_time) if number % 2 else captured(mirror, begin_time)
    found = of(mirror, FindingClass.CURRENCY_MISMATCH, life, currency="USD")
    found.worse = [replace(found.good[0], currency="GBP"), *found.good[1:]]
    return found


def _status(mirror: Mirror, begin_time: datetime, number: int) -> Fault:
    if number % 3 == 0:  # captured at the provider, and the ledger still waits
        life = captured(mirror, begin_time)
        life.records = life.records[:1]
        life.unheard = {0, 1}
    elif number % 3 == 1:  # paid at the provider, and the ledger still waits
        life = paid(mirror, begin_time)
        life.unheard = {0}
    else:  # came back, and the ledger believes it paid
        life = paid(mirror, begin_time)
        mirror.happen(life, EventType.PAYOUT_FAILED, life.amount, 60)
        life.unheard = {1}
    return Fault(place=(FindingClass.STATUS_MISMATCH, mirror.payment_id(life)), lives=[life])


def _duplicate_in_ledger(mirror: Mirror, begin_time: datetime, number: int) -> Fault:
    life = captured(mirror, begin_time)
    twin = mirror.begin(begin_time + timedelta(minutes=1), life.amount)
    twin.ref = life.ref
    return Fault(place=(FindingClass.DUPLICATE_IN_LEDGER, mirror.payment_id(twin)), lives=[life, twin])


def _duplicate_at_provider(mirror: Mirror, begin_time: datetime, number: int) -> Fault:
    life = paid(mirror, begin_time) if number % 2 else captured(mirror, begin_time)
    good = list(life.records)
    again = replace(good[0], record_id=mirror.new_ref("mov"), provider_ref=mirror.new_ref("again"))
    life.records.append(replace(again, payment_ref=mirror.new_ref("pay")))
    place = (FindingClass.DUPLICATE_AT_PROVIDER, mirror.payment_id(life))
    return Fault(place=place, lives=[life], good=good)


def _stale(mirror: Mirror, begin_time: datetime, number: int) -> Fault:
    life = mirror.begin(begin_time, 1_000, withdrawal=bool(number % 2))
    return Fault(place=(FindingClass.STALE_PENDING, mirror.payment_id(life)), lives=[life])


def _orphan(mirror: Mirror, begin_time: datetime, number: int) -> Fault:
    stranger = ProviderRecord(
        kind=ProviderRecordKind.DISPUTE if number % 2 else ProviderRecordKind.REFUND,
        record_id=mirror.new_ref("mov"),
        provider_ref=mirror.new_ref("ref"),
        payment_ref=mirror.new_ref("pay"),
        state=RemoteState.SUCCEEDED,
        amount=-500,
        currency=CURRENCY,
        create_time=begin_time,
        provider_type="refund",
        our_id="",
        batch="",
    )
    return Fault(place=(FindingClass.ORPHAN_REFUND, stranger.provider_ref), extra=[stranger])


def _fee(mirror: Mirror, begin_time: datetime, number: int) -> Fault:
    life = captured(mirror, begin_time)
    good = list(life.records)
    life.records = [good[0], replace(good[1], amount=-26 - number)] if number % 2 else good[:1]
    place = (FindingClass.FEE_MISMATCH, mirror.payment_id(life))
    return Fault(place=place, lives=[life], good=good, worse=[good[0], replace(good[1], amount=-999)])


def _unknown(mirror: Mirror, begin_time: datetime, number: int) -> Fault:
    stranger = ProviderRecord(
        kind=ProviderRecordKind.UNKNOWN,
        record_id=mirror.new_ref("mov"),
        provider_ref=mirror.new_ref("new"),
        state=RemoteState.SUCCEEDED,
        amount=77,
        currency=CURRENCY,
        create_time=begin_time,
        provider_type="loyalty_points",
        payment_ref="",
        our_id="",
        batch="",
    )
    return Fault(place=(FindingClass.UNKNOWN_RECORD_TYPE, stranger.provider_ref), extra=[stranger])


MAKERS: Final[Mapping[FindingClass, Callable[[Mirror, datetime, int], Fault]]] = {
    FindingClass.MISSING_IN_LEDGER: _missing_in_ledger,
    FindingClass.MISSING_AT_PROVIDER: _missing_at_provider,
    FindingClass.AMOUNT_MISMATCH: _amount,
    FindingClass.CURRENCY_MISMATCH: _currency,
    FindingClass.STATUS_MISMATCH: _status,
    FindingClass.DUPLICATE_IN_LEDGER: _duplicate_in_ledger,
    FindingClass.DUPLICATE_AT_PROVIDER: _duplicate_at_provider,
    FindingClass.STALE_PENDING: _stale,
    FindingClass.ORPHAN_REFUND: _orphan,
    FindingClass.FEE_MISMATCH: _fee,
    FindingClass.UNKNOWN_RECORD_TYPE: _unknown,
}
"""Every class that a run raises; settlement sums and overdrawn wallets are others' to find."""


def in_transit(mirror: Mirror, now: datetime, number: int) -> tuple[Life, list[ProviderRecord]]:
    """Return a payment that one side has only just heard of, in all the ways that are as they should be."""
    life = captured(mirror, now - timedelta(minutes=mirror.random.uniform(10, 40)))
    match number % 4:
        case 0:  # the webhooks are on their way
            life.unheard = {0, 1}
        case 1:  # the provider lists it in a moment
            life.records = []
        case 2:  # nothing has happened yet
            life.events, life.records = [], []
        case _:  # a payout is with the bank
            life = mirror.begin(now - timedelta(hours=5), 900, withdrawal=True)
            mirror.happen(life, EventType.PAYOUT_PAID, 900, 5)
            life.records = [replace(life.records[0], state=RemoteState.PENDING)]
            life.unheard = {0}
    return life, life.records
