"""Own the plan of a history: everything that happens in it follows from one number."""

from __future__ import annotations

import dataclasses
from random import Random
from typing import Final, Literal

from tests.simulation.border import dialects
from tests.simulation.border.provider import PROMPT, TREATMENTS, Fate, Treatment

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR

Story = Literal["payout", "refund", "deposit", "both"]
Copy = Literal["none", "restore", "staging"]
Blow = Literal["pause", "freeze", "kill"]
# Pauses longer than a call, a lease, a request's life, the provider's memory less its margin, and all of it;
# and short pauses, during which nothing may go wrong either.
PAUSES: Final = (0.5, 12.0, 40.0, 200.0, 1.2 * HOUR, 22.99 * HOUR, 24.01 * HOUR, 30 * HOUR, 3 * DAY)
# Beyond the bound of clocks, and within it.
_OFF: Final = (-26 * HOUR, -100.0, -50.0, -3.0, 3.0, 50.0, 100.0, 26 * HOUR)
# The steps of an undisturbed payout from its approval to its end, with some to spare.
STEPS: Final = 420
_COPIED_SHARE: Final = 0.04
_SECOND_SHARE: Final = 0.05


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A blow to a process before one of its steps.

    Attributes:
        step: counted from the moment at which the ledger owes a call.
        blow: a `pause` stops the process alone, a `freeze` its machine with all its clocks.
        wall: how far its wall clock is behind afterwards, as after the snapshot of a machine.
    """

    process: int
    step: int
    blow: Blow
    seconds: float
    wall: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One history.

    Attributes:
        off: how far each process's wall clock is off from the start.
        delays: the delay of each delivery of an event; two delays are two deliveries.
        review: what the operators do with the withdrawal.
        copy: whether an older copy of the database takes its place, or comes alive beside it in staging.
        second: whether the provider makes a second object of the first payout or payment that it is asked
            for: by mistake, or because a player pays twice.
        attempts: how many attempts of a player fail before one succeeds.
        captures: what is captured of the deposit that the ledger asks for.
    """

    seed: int
    dialect: str
    story: Story
    stops: tuple[Stop, ...] = ()
    treatments: tuple[Treatment, ...] = ()
    fates: tuple[Fate, ...] = ()
    lies: int = 0
    off: tuple[float, float] = (0.0, 0.0)
    delays: tuple[tuple[float, ...], ...] = ((0.5,),)
    review: Literal["approve", "reject", "cancel", "mark paid", "late mark"] = "approve"
    copy: Copy = "none"
    second: bool = False
    attempts: int = 0
    captures: tuple[int, ...] = (2_000,)

    def __str__(self) -> str:
        """Describe the plan for a person who looks for a fault."""
        named = [f"{self.dialect} {self.story}"]
        named += [f"p{s.process} {s.blow}@{s.step} {s.seconds:g}s wall{s.wall:+g}" for s in self.stops]
        named += [treatment.name for treatment in self.treatments if treatment is not PROMPT]
        named += [f"{fate.end}, lag {fate.lag:g}" for fate in self.fates if fate != Fate()]
        named += [f"{self.lies} lies"] if self.lies else []
        named += [f"clocks off {self.off}"] if any(self.off) else []
        named += [self.review] if self.review != "approve" else []
        named += [self.copy] if self.copy != "none" else []
        named += ["a second object"] if self.second else []
        return ", ".join(named)


def plan_of(seed: int) -> Plan:
    """Return the history of a number.

    Every second history is systematic: one process, one blow, at one step after the other, with every
    combination of the provider's treatments and pauses. The others are random. In some of both, the database
    is restored, or copied to staging.
    """
    randomness = Random(seed)
    plan = (_random if seed % 2 else _systematic)(seed, randomness)
    if plan.dialect == "adyen" and plan.story in {"deposit", "both"}:
        plan = dataclasses.replace(plan, story="payout")  # its payment links are not simulated
    if plan.second or (plan.dialect == "adyen" and plan.story == "refund"):
        # Without an event, only a reconciliation or the settlement report would tell of these.
        fates = tuple(dataclasses.replace(fate, told=True) for fate in plan.fates)
        plan = dataclasses.replace(plan, fates=fates)
    return plan


def _systematic(seed: int, randomness: Random) -> Plan:
    number = seed // 2
    # Successive numbers are spread over the steps by a prime, so that a few histories cover all steps evenly.
    step = 1 + (number * 97) % STEPS
    blow: Blow = ("kill", "pause", "freeze", "pause")[(number // 3) % 4]
    stories: tuple[Story, ...] = ("payout", "payout", "refund", "deposit")
    return Plan(
        seed=seed,
        dialect=dialects.NAMES[number % len(dialects.NAMES)],
        story=stories[(number // 2) % 4],
        stops=(Stop(process=0, step=step, blow=blow, seconds=PAUSES[(number // 5) % len(PAUSES)]),),
        treatments=(TREATMENTS[(number // 7) % len(TREATMENTS)],),
        fates=(Fate(end=randomness.choice(("paid", "paid", "failed", "returned"))),),
        copy="restore" if number % 41 == 0 else "none",
    )


def _random(seed: int, r: Random) -> Plan:
    stops = tuple(
        Stop(
            process=r.randrange(2),
            step=r.randrange(1, STEPS),
            blow=r.choice(("pause", "pause", "freeze", "kill")),
            seconds=r.choice(PAUSES),
            wall=r.choice((0.0, 0.0, 0.0, -25 * HOUR)),
        )
        for _ in range(r.choice((0, 1, 1, 2)))
    )
    return Plan(
        seed=seed,
        dialect=r.choice(dialects.NAMES),
        story=r.choice(("payout", "payout", "refund", "deposit", "both")),
        stops=stops,
        treatments=tuple(r.choice(TREATMENTS) for _ in range(r.choice((0, 1, 2, 4)))),
        fates=tuple(
            Fate(
                end=r.choice(("paid", "paid", "failed", "returned")),
                first_after=r.choice((0.0, 1.0, 300.0, 2 * HOUR)),
                second_after=r.choice((1.0, HOUR, 30 * HOUR)),
                told=r.random() < 0.7,
                lag=r.choice((0.0, 0.0, 90.0, 20 * 60.0)),
            )
            for _ in range(3)
        ),
        lies=r.choice((0, 0, 0, 1)),
        off=(r.choice(_OFF), 0.0) if r.random() < 0.2 else (0.0, 0.0),
        delays=tuple(
            tuple(r.choice((0.0, 0.5, 5.0, 100.0, 5 * HOUR)) for _ in range(r.choice((1, 1, 2))))
            for _ in range(12)
        ),
        review=r.choice(("approve",) * 8 + ("reject", "cancel", "mark paid", "late mark")),
        copy=r.choice(("restore", "restore", "staging")) if r.random() < _COPIED_SHARE else "none",
        second=r.random() < _SECOND_SHARE,
        attempts=r.choice((0, 0, 0, 1, 2)),
        captures=r.choice(((2_000,), (2_000,), (700, 1_300), (2_000, 2_000))),
    )
