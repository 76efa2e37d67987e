"""Fail over again and again under load, and tell how each round went: `make failover`."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path

from tests.failover.pair import Pair
from tests.failover.rounds import Failover, Round, Way, running_pair

WAYS: tuple[Way, ...] = ("killed", "paused")


def main() -> int:
    """Run as many rounds as are asked for; what is lost ends it with an error."""
    parser = argparse.ArgumentParser(prog="make failover", description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    randomness = random.Random(options.seed)
    with running_pair() as pair, tempfile.TemporaryDirectory() as folder:
        rounds = asyncio.run(run(pair, options.times, randomness, Path(folder) / "server.log"))
    seconds = sorted(each.seconds for each in rounds)
    say(
        f"{len(rounds)} failovers, {rounds[-1].acknowledged_count} postings acknowledged,"
        f" {rounds[-1].told_count} records told: 0 lost, 0 doubled;"
        f" service after {seconds[len(seconds) // 2]:.1f} s (median), {seconds[-1]:.1f} s at most"
    )
    return 0


async def run(pair: Pair, times: int, randomness: random.Random, log_file: Path) -> list[Round]:
    """Return how the rounds went, once everything that was told has been found again."""
    rounds = []
    async with Failover.under_load(pair, log_file=log_file, randomness=randomness) as failover:
        for number in range(times):
            if number:
                await asyncio.to_thread(pair.rebuild)
            done = await failover.round(WAYS[number % len(WAYS)])
            rounds.append(done)
            say(
                f"round {number + 1}: {done.way}, service after {done.seconds:.1f} s,"
                f" {done.acknowledged_count} acknowledged, {done.told_count} told"
            )
    return rounds


def say(line: str) -> None:
    """Say something at once, even to a file."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
