"""Hold whole histories of the border to what must be true at their end; `make simulate` runs thousands."""

from __future__ import annotations

import os
from random import Random

import pytest

from tests.simulation.border.histories import run
from tests.support.postgres import Databases
from tests.support.randomness import SEED

SEED_VARIABLE = "DEFTER_SIMULATION_SEED"
PARTS = 6
HISTORIES_A_PART = 50
# An older backup, or a copy in staging, is mistaken for the history that the provider knows as long as the
# ledger's ids do not say in which of them they were given; `make simulate ARGS=--with-copies` shows it.
WITH_COPIES = False
_SEEDS = 2**31


def seeds_of(part: int) -> list[int]:
    """Return the seeds of a part: half of them ever the same, half of this run; or one that is asked for.

    Every other number of both halves is systematic (`plan_of`).
    """
    if asked := os.environ.get(SEED_VARIABLE):
        return [int(asked)] if part == 0 else []
    half = HISTORIES_A_PART // 2
    fresh = Random(f"{SEED} border").randrange(_SEEDS)
    return [*range(part * half, (part + 1) * half), *range(fresh + part * half, fresh + (part + 1) * half)]


@pytest.mark.parametrize("part", range(PARTS))
def test_live_through_any_history_ends_with_true_books(databases: Databases, part: int) -> None:
    """Nothing is paid twice in silence, every capture is credited once, no hold waits for ever."""
    faults = [
        f"{SEED_VARIABLE}={result.plan.seed} ({result.plan}): {fault}"
        for result in run(databases, seeds_of(part), with_copies=WITH_COPIES)
        for fault in result.faults
    ]
    assert not faults, "\n".join(faults)
