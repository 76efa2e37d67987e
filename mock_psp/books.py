"""Owns the provider's books: every movement of money, every event, and the objects by reference."""

from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random
from typing import TypeAlias

import msgspec
from msgspec import Struct

from mock_psp.agenda import Agenda
from mock_psp.errors import InvalidRequest
from mock_psp.knobs import Knobs
from mock_psp.listing import Kind, Listing, Movement
from mock_psp.objects import Capture, Fee, Object, Payment, Payout, Refund, rfc3339

Source: TypeAlias = Capture | Refund | Payout


class EventData(Struct, frozen=True, kw_only=True):
    """The content of an event; texts that do not apply are empty."""

    payment_id: str
    reference: str
    object_id: str
    object_reference: str
    amount_minor: int
    currency: str
    final: bool
    stage: str
    reason: str


class Event(Struct, frozen=True, kw_only=True):
    """An event that is delivered by webhook; `id` is the same in every delivery."""

    type: str
    id: str
    created_at: str
    data: EventData

    def body(self) -> bytes:
        """Return the exact bytes of every delivery."""
        return msgspec.json.encode(self)


class Books:
    """The provider's records, and the only source of its times and ids.

    Attributes:
        executions: how many payments, payouts and refunds were made for a reference. More than one means that
            a caller asked twice for the same thing, with two idempotency keys.
        listing: every movement of money, as callers may read it.
    """

    def __init__(self, *, clock: Callable[[], datetime], knobs: Knobs, random: Random) -> None:
        self._clock = clock
        self._random = random
        self.knobs = knobs
        self.agenda = Agenda(clock)
        self.executions: Counter[str] = Counter()
        self._made: defaultdict[str, list[Object]] = defaultdict(list)
        self._listed: set[str] = set()
        self.listing = Listing(knobs)
        self.events: list[Event] = []
        self.balances: Counter[str] = Counter()
        self.on_event: Callable[[Event], None] = lambda _: None

    @property
    def movements(self) -> list[Movement]:
        """Every movement of money, the oldest first."""
        return self.listing.movements

    def now(self) -> datetime:
        """Return the time on the provider's own clock."""
        return self._clock() + timedelta(seconds=self.knobs.clock_skew_seconds)

    def stamp(self) -> str:
        """Return that time as the provider writes it."""
        return rfc3339(self.now())

    def new_id(self, prefix: str) -> str:
        """Return an id that was never given out, not even by a provider that ran before this one."""
        return f"{prefix}_{self._random.getrandbits(80):020x}"

    def execute(self, thing: Object, complete: Callable[[], object]) -> None:
        """Count an object that was asked for, and schedule its end if `auto_complete` is on."""
        if thing.reference:
            self.executions[thing.reference] += 1
            self.keep(thing)
        if self.knobs.auto_complete:
            self.agenda.add(self.knobs.settle_seconds, complete)

    def keep(self, thing: Object) -> None:
        """Let an object be found by its reference."""
        self._made[thing.reference].append(thing)

    def made_for(self, reference: str) -> list[Object]:
        """Return all that was made for a reference, the oldest first."""
        return list(self._made.get(reference, ()))

    def charge(self, payment: Payment | Payout, amount_minor: int | None) -> None:
        """Keep a fee, `fee_minor` unless told otherwise; raises InvalidRequest if it is zero."""
        amount = self.knobs.fee_minor if amount_minor is None else amount_minor
        if amount <= 0:
            raise InvalidRequest("no_fee", "give an amount, or turn the knob fee_minor")
        fee = Fee(id=self.new_id("mp_fee"), amount_minor=amount, created_at=self.stamp())
        payment.fees.append(fee)
        self.move("fee", "fee", payment, -amount, object_id=fee.id)
        self.tell("fee.charged", payment, amount_minor=amount, object_id=fee.id)

    def tell(
        self,
        type_: str,
        payment: Payment | Payout,
        *,
        amount_minor: int,
        object_id: str = "",
        object_reference: str = "",
        final: bool = False,
        stage: str = "",
        reason: str = "",
    ) -> Event:
        """Record an event and pass it to the delivery of events."""
        event = Event(
            type=type_,
            id=self.new_id("evt"),
            created_at=self.stamp(),
            data=EventData(
                payment_id=payment.id,
                reference=payment.reference,
                object_id=object_id,
                object_reference=object_reference,
                amount_minor=amount_minor + self.knobs.wrong_amount,
                currency=self.knobs.wrong_currency or payment.currency,
                final=final,
                stage=stage,
                reason=reason,
            ),
        )
        self.events.append(event)
        self.on_event(event)
        return event

    def move(
        self,
        kind: Kind,
        type_: str,
        payment: Payment | Payout,
        amount_minor: int,
        *,
        object_id: str,
        reference: str | None = None,
        source: Source | None = None,
    ) -> None:
        """Write down a movement that belongs to a payment or payout."""
        self.enter(
            kind,
            type_,
            amount_minor,
            payment.currency,
            object_id=object_id,
            payment_id=payment.id,
            reference=payment.reference if reference is None else reference,
            source=source,
        )

    def enter(
        self,
        kind: Kind | str,
        type_: str,
        amount_minor: int,
        currency: str,
        *,
        object_id: str,
        payment_id: str = "",
        reference: str = "",
        source: Source | None = None,
        batch_id: str = "",
    ) -> Movement:
        """Write down a movement; the first of an object has the object's id, unless it is a dispute."""
        first = kind != "dispute" and object_id not in self._listed
        self._listed.add(object_id)
        self.balances[currency] += amount_minor
        movement = Movement(
            kind=kind,
            type=type_,
            id=object_id if first else self.new_id("mp_mov"),
            object_id=object_id,
            payment_id=payment_id,
            reference=reference,
            amount_minor=amount_minor,
            currency=currency,
            created_at=self.now(),
            source=source,
            batch_id=batch_id,
        )
        self.listing.add(movement)
        return movement
