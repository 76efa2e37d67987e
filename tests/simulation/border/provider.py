"""Own the simulated provider: its objects, its memory of keys, its treatment of callers, and its events.

It is written from the vendors' contracts and shares no code with the ledger. A key is remembered exactly for
its life, and a request may be carried out after its caller has given up.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from random import Random
from typing import Final, Literal

Kind = Literal["payment", "payout", "refund"]

_SECOND_SECONDS: Final = 5.0
KEY_LIFE_SECONDS: Final = 24 * 3600.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """The treatment of one request.

    Attributes:
        execute_after: None means never.
        answer_after: from the request's arrival; None means never.
        status: of the answer; 0 answers with the object.
    """

    name: str
    execute_after: float | None = 0.0
    answer_after: float | None = 0.05
    status: int = 0


PROMPT: Final = Treatment(name="prompt")
TREATMENTS: Final = (
    PROMPT,
    Treatment(name="slow answer", answer_after=45.0),
    Treatment(name="slow execution", execute_after=20.0, answer_after=25.0),
    Treatment(name="executed after the caller gave up", execute_after=45.0, answer_after=None),
    Treatment(name="executed much later", execute_after=1_500.0, answer_after=None),
    Treatment(name="hung, nothing done", execute_after=None, answer_after=None),
    Treatment(name="hung, done", answer_after=None),
    Treatment(name="500, nothing done", execute_after=None, status=500),
    Treatment(name="500, done", status=500),
    Treatment(name="429", execute_after=None, status=429),
)


@dataclasses.dataclass(slots=True, kw_only=True)
class Thing:
    """An object at the provider.

    Attributes:
        payment: of a refund, the provider's id of the payment.
        captured: of a payment, what was captured, by the id of each capture.
        listed_from: from when on listings have it; a read by its id finds it at once.
    """

    id: str
    kind: Kind
    our_id: str
    amount: int
    currency: str
    destination: str = ""
    payment: str = ""
    state: str = "pending"
    made_at: float
    listed_from: float
    captured: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def moved(self) -> int:
        """The money that left our account by it, or came in, and has not come back."""
        if self.kind == "payment":
            return sum(self.captured.values())
        return self.amount if self.state in {"paid", "succeeded"} else 0


@dataclasses.dataclass(slots=True)
class _Key:
    digest: bytes
    since: float
    answer: bytes | None = None


class KeyReused(Exception):
    """The key came with another request."""


class KeyInUse(Exception):
    """The first request with this key is still under way."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """The course of a payout or refund, and the duration of each step.

    Attributes:
        end: `paid`, `failed`, or `returned` after it was paid.
        told: whether its events are sent at all; if not, only reads tell.
        lag: for how long listings don't show it.
    """

    end: Literal["paid", "failed", "returned"] = "paid"
    first_after: float = 1.0
    second_after: float = 60.0
    told: bool = True
    lag: float = 0.0


class Provider:
    """One account.

    Attributes:
        tell: takes an event: the object, the event's type and what it says of the object's amount.
        treatments: of the next writes, in order; then all are prompt.
        fates: of the next payouts and refunds, in order.
        second: whether the next payout or payment that is asked for is made twice.
        lies: how many looks by our reference get the false answer that nothing is there.
    """

    def __init__(self, prefix: str, randomness: Random, now: Callable[[], float], later: Later) -> None:
        self.things: list[Thing] = []
        self.treatments: list[Treatment] = []
        self.fates: list[Fate] = []
        self.lies = 0
        self.second = False
        self.tell: Callable[[Thing, str, int, str], None] = lambda *_: None
        self._prefix = prefix
        self._random = randomness
        self._now = now
        self._later = later
        self._keys: dict[str, _Key] = {}

    def next_treatment(self) -> Treatment:
        """Return how the next write is treated."""
        return self.treatments.pop(0) if self.treatments else PROMPT

    def begin(self, key: str, body: bytes) -> bytes | None:
        """Claim a key for a request, or return the answer to the same request before.

        Raises:
            KeyReused, KeyInUse: nothing is done.
        """
        digest = hashlib.sha256(body).digest()
        for name in [
            name for name, kept in self._keys.items() if self._now() - kept.since >= KEY_LIFE_SECONDS
        ]:
            del self._keys[name]
        kept = self._keys.get(key)
        if kept is None:
            self._keys[key] = _Key(digest, self._now())
            return None
        if kept.digest != digest:
            raise KeyReused
        if kept.answer is None:
            raise KeyInUse
        return kept.answer

    def finish(self, key: str, answer: bytes | None) -> None:
        """Keep the answer to a key's request; None releases the key, since nothing was done."""
        if answer is None:
            self._keys.pop(key, None)
        elif key in self._keys:
            self._keys[key].answer = answer

    def make(
        self,
        kind: Kind,
        *,
        our_id: str,
        amount: int,
        currency: str,
        destination: str = "",
        payment: str = "",
    ) -> Thing:
        """Make an object; its course follows by itself."""
        fate = self.fates.pop(0) if self.fates and kind != "payment" else Fate()
        thing = Thing(
            id=f"{self._prefix}_{kind[:3]}_{self._random.getrandbits(40):010x}",
            kind=kind,
            our_id=our_id,
            amount=amount,
            currency=currency,
            destination=destination,
            payment=payment,
            made_at=self._now(),
            listed_from=self._now() + fate.lag,
        )
        self.things.append(thing)
        if kind != "payment":
            self._later(fate.first_after, lambda: self._first_end(thing, fate))
        if self.second and our_id and kind != "refund":
            self.second = False
            self._later(
                _SECOND_SECONDS,
                lambda: self.make(
                    kind, our_id=our_id, amount=amount, currency=currency, destination=destination
                ),
            )
        return thing

    def fail_attempt(self, thing: Thing) -> None:
        """Let a player's try to pay fail; the payment goes on."""
        self.tell(thing, "payment.attempt_failed", thing.amount, "")

    def capture(self, thing: Thing, amount: int, *, final: bool = True) -> None:
        """Let a player pay."""
        ref = f"{self._prefix}_cap_{self._random.getrandbits(40):010x}"
        thing.captured[ref] = amount
        thing.state = "captured"
        self.tell(thing, "payment.captured" if final else "payment.captured.partly", amount, ref)

    def get(self, ref: str) -> Thing | None:
        """Return an object by the provider's id."""
        return next((thing for thing in self.things if thing.id == ref), None)

    def listed(self, our_id: str | None = None, *, kind: Kind, payment: str = "") -> list[Thing]:
        """Return what a listing shows now, which may lack objects."""
        if self.lies:
            self.lies -= 1
            return []
        return [
            thing
            for thing in self.things
            if thing.kind == kind
            and our_id in {None, thing.our_id}
            and payment in {"", thing.payment}
            and thing.listed_from <= self._now()
        ]

    def heal(self) -> None:
        """Treat everybody well from here on."""
        self.treatments.clear()
        self.lies = 0

    def made_for(self, destination: str) -> list[Thing]:
        """Return every payout that was made to a destination."""
        return [thing for thing in self.things if thing.kind == "payout" and thing.destination == destination]

    def _first_end(self, thing: Thing, fate: Fate) -> None:
        word = "payout" if thing.kind == "payout" else "refund"
        if fate.end == "failed":
            thing.state = "failed"
            self._say(thing, f"{word}.failed", fate)
            return
        thing.state = "paid" if thing.kind == "payout" else "succeeded"
        self._say(thing, "payout.paid" if thing.kind == "payout" else "refund.succeeded", fate)
        if fate.end == "returned" and thing.kind == "payout":
            self._later(fate.second_after, lambda: self._return(thing, fate))

    def _return(self, thing: Thing, fate: Fate) -> None:
        thing.state = "returned"
        # An event of a returned payout is always sent, since nobody polls a paid payout.
        self._say(thing, "payout.failed", dataclasses.replace(fate, told=True))

    def _say(self, thing: Thing, type_: str, fate: Fate) -> None:
        if fate.told:
            self.tell(thing, type_, thing.amount, "")


Later = Callable[[float, Callable[[], object]], None]
