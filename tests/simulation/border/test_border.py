"""Hold whole histories of the border to what must be true at their end; `make simulate` runs thousands."""

from __future__ import annotations

import os

import pytest

from tests.simulation.border.histories import run
from tests.support.postgres import Databases

SEED_VARIABLE = "DEFTER_SIMULATION_SEED"
PARTS = 6
HISTORIES_A_PART = 30


def seeds_of(part: int) -> list[int]:
    """Return the seeds of a part, the same in each run, or one that is asked for; `make simulate` has others.

    Every other one is systematic (`plan_of`).
    """
    if asked := os.environ.get(SEED_VARIABLE):
        return [int(asked)] if part == 0 else []
    return [*range(part * HISTORIES_A_PART, (part + 1) * HISTORIES_A_PART)]


@pytest.mark.parametrize("part", range(PARTS))
def test_live_through_any_history_ends_with_true_books(databases: Databases, part: int) -> None:
    """Nothing is paid twice in silence, every capture is credited once, no hold waits for ever."""
    faults = [
        f"{SEED_VARIABLE}={result.plan.seed} ({result.plan}): {fault}"
        for result in run(databases, seeds_of(part))
        for fault in result.faults
    ]
    assert not faults, "\n".join(faults)
