"""Owns the list of all movements as callers read it: windows, cursors, pages, and falsified rows."""

from bisect import bisect_left
from datetime import datetime
from operator import attrgetter
from random import Random
from typing import Literal

from msgspec import Struct

from mock_psp.errors import InvalidRequest, NotFound
from mock_psp.knobs import Knobs
from mock_psp.objects import Capture, Payout, Refund, rfc3339

Kind = Literal["payment", "payout", "refund", "dispute", "fee", "settlement", "other"]
"""What a movement is of; a real provider's list grows, and so `surprise` may invent more."""

_created = attrgetter("created_at")


class Movement(Struct, kw_only=True):
    """One movement of the provider's account with us, positive when it takes money in.

    Attributes:
        id: the id of the capture, refund, payout, fee or settlement for its first movement; an id of its own
            for later movements and for a dispute's.
        object_id: of the object that moved, for all its movements.
        source: the object whose present state the row shows; None if the movement is final.
        batch_id: of the settlement that it was paid out to our bank with; empty until then.
        vanished: whether no page shows it.
        misstated_amount_minor: shown instead of the true amount, unless it is None.
        misstated_currency: shown instead of the true currency, unless it is empty.
    """

    kind: Kind | str
    type: str
    id: str
    object_id: str
    payment_id: str
    reference: str
    amount_minor: int
    currency: str
    created_at: datetime
    source: Capture | Refund | Payout | None
    batch_id: str = ""
    vanished: bool = False
    misstated_amount_minor: int | None = None
    misstated_currency: str = ""

    def view(self) -> dict[str, object]:
        """Return the movement as the API lists it."""
        misstated = self.misstated_amount_minor
        return {
            "kind": self.kind,
            "type": self.type,
            "id": self.id,
            "object_id": self.object_id,
            "payment_id": self.payment_id,
            "reference": self.reference,
            "state": self.source.state if self.source else "succeeded",
            "amount_minor": self.amount_minor if misstated is None else misstated,
            "currency": self.misstated_currency or self.currency,
            "created_at": rfc3339(self.created_at),
            "batch_id": self.batch_id,
        }


class Page(Struct, frozen=True):
    """Movements, the newest first; an empty cursor says that there are no more."""

    movements: list[Movement]
    next_cursor: str


class Listing:
    """All movements, the oldest first."""

    def __init__(self, knobs: Knobs) -> None:
        self._knobs = knobs
        self._places: dict[str, int] = {}
        self._in_order = True
        self.movements: list[Movement] = []

    def add(self, movement: Movement) -> None:
        """List one more movement, the newest."""
        if self.movements and movement.created_at < self.movements[-1].created_at:
            # The clock was turned back, or forward and back.
            self._in_order = False
        self._places[movement.id] = len(self.movements)
        self.movements.append(movement)

    def get(self, movement_id: str) -> Movement:
        """Return a movement, also one that vanished; raises NotFound."""
        try:
            return self.movements[self._places[movement_id]]
        except KeyError:
            raise NotFound("not_found", f"no movement {movement_id}") from None

    def vanish(self, movement_id: str) -> Movement:
        """Hide a movement; its money stays where it went."""
        movement = self.get(movement_id)
        movement.vanished = True
        return movement

    def misstate(self, movement_id: str, *, amount_minor: int | None = None, currency: str = "") -> Movement:
        """Show a movement with another amount, of the same sign, or in another currency, or as it is."""
        movement = self.get(movement_id)
        sign = -1 if movement.amount_minor < 0 else 1
        movement.misstated_amount_minor = None if amount_minor is None else sign * amount_minor
        movement.misstated_currency = currency
        return movement

    def page(
        self, *, created_from: datetime | None, created_to: datetime | None, cursor: str, limit: int
    ) -> Page:
        """Return movements with created_from ≤ created_at < created_to, the newest first.

        A cursor names the oldest movement that was seen, so that new ones shift nothing; with
        `moving_pages` it is a position among all, as many real providers have it.

        Raises:
            InvalidRequest: the cursor is not one of ours.
        """
        oldest, newest = self._window(created_from, created_to)
        fitting = (
            place
            for place in range(min(newest, self._newest(cursor)), oldest - 1, -1)
            if self._shows(self.movements[place], created_from, created_to)
        )
        places = [place for _, place in zip(range(limit + 1), fitting, strict=False)]
        movements = self._arranged(places[:limit])
        if len(places) <= limit:
            return Page(movements, "")
        if not self._knobs.moving_pages:
            return Page(movements, f"before-{places[limit - 1]}")
        # The last row of this page is repeated on the next one, unless the listing would then never end.
        again = places[limit - 1] if limit > 1 else places[limit]
        return Page(movements, f"skip-{len(self.movements) - 1 - again}")

    def _window(self, created_from: datetime | None, created_to: datetime | None) -> tuple[int, int]:
        """Return between which places a window lies, so that no page costs more than its own rows."""
        oldest, newest = 0, len(self.movements) - 1
        if self._in_order and created_from is not None:
            oldest = bisect_left(self.movements, created_from, key=_created)
        if self._in_order and created_to is not None:
            newest = bisect_left(self.movements, created_to, key=_created) - 1
        return oldest, newest

    def _shows(self, movement: Movement, created_from: datetime | None, created_to: datetime | None) -> bool:
        return (
            not movement.vanished
            and (created_from is None or created_from <= movement.created_at)
            and (created_to is None or movement.created_at < created_to)
        )

    def _arranged(self, places: list[int]) -> list[Movement]:
        """Return the rows of a page; with `shuffle_pages` surely not the newest first."""
        if self._knobs.shuffle_pages and places:
            shuffled = list(places)
            # A page that is read again comes in the same disorder.
            Random(places[0]).shuffle(shuffled)  # noqa: S311 - nothing here is secret
            places = shuffled if shuffled != places else places[::-1]
        return [self.movements[place] for place in places]

    def _newest(self, cursor: str) -> int:
        """Return the place of the newest movement that a cursor leaves to be read."""
        if not cursor:
            return len(self.movements) - 1
        word, _, number = cursor.partition("-")
        if word not in ("before", "skip") or not (number.isascii() and number.isdigit() and len(number) < 16):
            raise InvalidRequest("invalid_cursor", "the cursor is none of ours")
        newest = int(number) - 1 if word == "before" else len(self.movements) - 1 - int(number)
        return min(newest, len(self.movements) - 1)
