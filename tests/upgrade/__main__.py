"""Upgrade a large database from each earlier revision under traffic, and tell how it went: `make upgrade`."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.upgrade.databases import SHORT_WAIT_SECONDS, Place, running_place
from tests.upgrade.rounds import PHASES, Round, run_round
from tests.upgrade.versions import earlier_revisions, servers

_BEGUN: Final = time.monotonic()
_HEAD: Final = (
    f"| from | records | calls | asked again | migrations | lock | {' | '.join(PHASES)} | verify | wrong |",
    f"|{'---|' * (8 + len(PHASES))}",
)


def main() -> int:
    """Run a round from each revision that is asked for; what is wrong with one ends in exit code 1."""
    known = earlier_revisions()
    parser = argparse.ArgumentParser(prog="make upgrade", description=__doc__)
    parser.add_argument("--records", type=int, default=2_000_000, help="how many the database has before")
    parser.add_argument(
        "--from", dest="revisions", nargs="+", choices=known, default=known, metavar="REVISION"
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="of traffic before and behind each step")
    parser.add_argument(
        "--no-verify", action="store_true", help="leave out `defter verify`, which takes longest"
    )
    parser.add_argument("--folder", type=Path, help="where filled databases are kept for the next run")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="defter-upgrade-", dir="/var/tmp"))
    try:
        with running_place(folder.absolute(), servers(known), records=options.records) as place:
            rounds = asyncio.run(_run(place, options))
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    for line in (*_HEAD, *map(row, rounds)):
        say(line)
    return 1 if any(each.wrong for each in rounds) else 0


async def _run(place: Place, options: argparse.Namespace) -> list[Round]:
    rounds = []
    for revision in options.revisions:

        def tell(line: str, revision: str = revision) -> None:
            load, _, _ = os.getloadavg()
            say(f"[{time.monotonic() - _BEGUN:6.0f} s, load {load:4.1f}] {revision}: {line}")

        done = await run_round(
            place,
            revision,
            place.servers[revision],
            seconds=options.seconds,
            verify=not options.no_verify,
            tell=tell,
        )
        for wrong in done.wrong[:20]:
            tell(f"WRONG: {wrong}")
        tell(row(done))
        rounds.append(done)
    return rounds


def row(done: Round) -> str:
    """Return how a round went as a row of a Markdown table; a phase has the seconds of its longest call."""
    traffic = done.traffic
    again = ", ".join(f"{count} {code}" for code, count in traffic.retries.items()) or "none"
    steps = ", ".join(f"{revision} {seconds:.2f}" for revision, seconds in done.migrations.items())
    runs = "" if done.migrate_count == 1 else f", {done.migrate_count} runs"
    lock = f"{done.lock_seconds:.2f} s" if done.lock_seconds else f"< {SHORT_WAIT_SECONDS} s"
    migrated = f"{sum(done.migrations.values()):.1f} s ({steps}{runs})"
    pauses = " | ".join(f"{traffic.longest.get(phase, 0):.2f} s" for phase in PHASES)
    verified = "-" if done.verify_seconds is None else f"{done.verify_seconds:.0f} s"
    return (
        f"| {done.revision} | {done.record_count:,} | {traffic.call_count:,} | {again}"
        f" | {migrated} | {lock} | {pauses} | {verified} | {len(done.wrong)} |"
    )


def say(line: str) -> None:
    """Say something at once, even to a file."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
