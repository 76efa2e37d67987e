"""Run many histories and print the seeds of those that end badly: `make simulate`."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from tests.simulation.border.histories import run
from tests.simulation.border.plan import plan_of
from tests.support.postgres import Databases, running_postgres


def main() -> int:
    """Run what is asked for; return 1 if a history ended badly."""
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--histories", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="seed of the first one")
    parser.add_argument("--most-faults", type=int, default=20, help="stop after so many bad histories")
    parser.add_argument("--seeds", type=int, nargs="*", help="run these only")
    parser.add_argument(
        "--only-copies",
        action="store_true",
        help="only those with a restored backup or a copy in staging",
    )
    options = parser.parse_args()
    seeds = options.seeds or range(options.first, options.first + options.histories)
    if options.only_copies:
        seeds = [seed for seed in seeds if plan_of(seed).copy != "none"]
    bad, kinds, begun = 0, Counter[str](), time.monotonic()
    with running_postgres() as server:
        databases = Databases(server)
        databases.make_template()
        for count, result in enumerate(run(databases, seeds), 1):
            kinds[f"{result.plan.dialect} {result.plan.story}"] += 1
            if result.faults:
                bad += 1
                say(f"seed {result.plan.seed}: {result.plan}", *(f"    {fault}" for fault in result.faults))
            if count % 25 == 0:
                spent = time.monotonic() - begun
                say(f"{count} histories, {bad} bad, {spent:.0f} s, {time.process_time():.0f} s of it at work")
            if bad >= options.most_faults:
                break
    say(f"{sum(kinds.values())} histories from seed {seeds[0]} on, {bad} bad: {dict(kinds)}")
    return 1 if bad else 0


def say(*lines: str) -> None:
    """Say something at once, even to a file."""
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
