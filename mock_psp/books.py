"""Owns the provider's own books: every movement of money, every event, and what was made for whom."""

from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random
from typing import Literal

import msgspec
from msgspec import Struct

from mock_psp.agenda import Agenda
from mock_psp.errors import InvalidRequest
from mock_psp.knobs import Knobs
from mock_psp.objects import Capture, Fee, Object, Payment, Payout, Refund, rfc3339

Kind = Literal["payment", "payout", "refund", "dispute", "fee"]


class EventData(Struct, frozen=True, kw_only=True):
    """What an event tells; texts that do not apply are empty."""

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
    """Something that the provider tells by webhook; `id` stays the same however often it is delivered."""

    type: str
    id: str
    created_at: str
    data: EventData

    def body(self) -> bytes:
        """Return the exact bytes of every delivery."""
        return msgspec.json.encode(self)


class Movement(Struct, frozen=True, kw_only=True):
    """One movement of the provider's account with us, positive when it takes money in.

    Attributes:
        id: of the capture, refund, payout or fee when it comes to be; an id of its own for what befalls it
            later and for a dispute's movements.
        source: what the row shows the present state of; none for what is done once and for all.
    """

    kind: Kind
    type: str
    id: str
    object_id: str
    payment_id: str
    reference: str
    amount_minor: int
    currency: str
    created_at: datetime
    source: Capture | Refund | Payout | None

    def view(self) -> dict[str, object]:
        """Return the movement as the API lists it."""
        return {
            "kind": self.kind,
            "type": self.type,
            "id": self.id,
            "object_id": self.object_id,
            "payment_id": self.payment_id,
            "reference": self.reference,
            "state": self.source.state if self.source else "succeeded",
            "amount_minor": self.amount_minor,
            "currency": self.currency,
            "created_at": rfc3339(self.created_at),
        }


class Page(Struct, frozen=True):
    """Movements, the newest first; an empty cursor says that there are no more."""

    movements: list[Movement]
    next_cursor: str


class Books:
    """What the provider wrote down, and the only maker of its times and ids.

    Attributes:
        executions: how many payments, payouts and refunds were made for a reference: more than one
            says that somebody asked twice for the same thing, with two idempotency keys.
    """

    def __init__(self, *, clock: Callable[[], datetime], knobs: Knobs, random: Random) -> None:
        self._clock = clock
        self._random = random
        self.knobs = knobs
        self.agenda = Agenda(clock)
        self.executions: Counter[str] = Counter()
        self._made: defaultdict[str, list[Object]] = defaultdict(list)
        self._listed: set[str] = set()
        self.movements: list[Movement] = []
        self.events: list[Event] = []
        self.balances: Counter[str] = Counter()
        self.on_event: Callable[[Event], None] = lambda _: None

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
        """Count an object that was asked for, and let it come to its end by itself if that is on."""
        if thing.reference:
            self.executions[thing.reference] += 1
            self._made[thing.reference].append(thing)
        if self.knobs.auto_complete:
            self.agenda.add(self.knobs.settle_seconds, complete)

    def made_for(self, reference: str) -> list[Object]:
        """Return all that was made for a reference, the oldest first."""
        return list(self._made.get(reference, ()))

    def charge(self, payment: Payment | Payout, amount_minor: int | None) -> None:
        """Keep a fee, `fee_minor` unless told otherwise; raises InvalidRequest when it comes to nothing."""
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
        """Write down an event and hand it to whoever delivers events."""
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
        source: Capture | Refund | Payout | None = None,
    ) -> None:
        """Write down a movement; the first of an object has the object's id, unless it is a dispute."""
        first = kind != "dispute" and object_id not in self._listed
        self._listed.add(object_id)
        self.balances[payment.currency] += amount_minor
        self.movements.append(
            Movement(
                kind=kind,
                type=type_,
                id=object_id if first else self.new_id("mp_mov"),
                object_id=object_id,
                payment_id=payment.id,
                reference=payment.reference if reference is None else reference,
                amount_minor=amount_minor,
                currency=payment.currency,
                created_at=self.now(),
                source=source,
            )
        )

    def page(
        self, *, created_from: datetime | None, created_to: datetime | None, cursor: str, limit: int
    ) -> Page:
        """Return movements with created_from ≤ created_at < created_to, the newest first.

        A cursor names the oldest movement that was seen, so that new ones shift nothing; with
        `moving_pages` it is a position among all, as many real providers have it.

        Raises:
            InvalidRequest: the cursor is none of ours.
        """
        fitting = (
            place
            for place in range(self._newest(cursor), -1, -1)
            if (created_from is None or created_from <= self.movements[place].created_at)
            and (created_to is None or self.movements[place].created_at < created_to)
        )
        places = [place for _, place in zip(range(limit + 1), fitting, strict=False)]
        movements = [self.movements[place] for place in places[:limit]]
        if len(places) <= limit:
            return Page(movements, "")
        if not self.knobs.moving_pages:
            return Page(movements, f"before-{places[limit - 1]}")
        # The last row of this page comes again on the next one, unless that would never end.
        again = places[limit - 1] if limit > 1 else places[limit]
        return Page(movements, f"skip-{len(self.movements) - 1 - again}")

    def _newest(self, cursor: str) -> int:
        """Return the place of the newest movement that a cursor leaves to be read."""
        if not cursor:
            return len(self.movements) - 1
        word, _, number = cursor.partition("-")
        if word not in ("before", "skip") or not (number.isascii() and number.isdigit() and len(number) < 16):
            raise InvalidRequest("invalid_cursor", "the cursor is none of ours")
        newest = int(number) - 1 if word == "before" else len(self.movements) - 1 - int(number)
        return min(newest, len(self.movements) - 1)
