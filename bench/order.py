"""Own the command line: what is asked for, and what a quick run is."""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from time import strftime

from bench.profiling import find_py_spy
from bench.rounds import Plan
from bench.stack import default_defter

SECONDS = 10.0
ROUNDS = 5
QUICK = Plan(seconds=1.0, rounds=1)
MEMORY_TRANSACTION_COUNT = 1_000_000
SIZE_TRANSACTION_COUNT = 5_000_000
QUICK_TRANSACTION_COUNT = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What was asked for.

    Attributes:
        only: patterns of line names; none means all.
        transaction_count: that the memory line posts, or that `size` loads.
        database_url: of a PostgreSQL in which databases may be created; None starts one.
        verify: whether the whole journal is replayed in the end.
    """

    what: str
    plan: Plan
    only: tuple[str, ...]
    transaction_count: int
    database_url: str | None
    defter: Path
    verify: bool
    json: Path | None
    markdown: Path | None


def read_order() -> Order:
    """Read the command line, or explain it and exit."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure the ledger under load or at scale, and the webhook edge.",
    )
    parser.add_argument(
        "what",
        nargs="?",
        choices=["load", "size", "edge", "reconcile", "fairness", "openings", "console"],
        default="load",
        help="load: all lines (default); size: the same rates on an empty and on a full database; "
        "edge: webhooks, beside the edge without the durable write and beside an empty answer; "
        "reconcile: runs over a million records on each side, beside one bare join and beside postings; "
        "fairness: a quiet tenant alone and beside another one at full tilt; "
        "openings: a file of opening balances, from the command to the journal; "
        "console: postings alone and while people have live pages open",
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, help="per line, all rounds together")
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, help="turns that every line gets; lines alternate"
    )
    parser.add_argument("--quick", action="store_true", help="one short round, a small load")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="a line or a pattern such as 'unary-*', with what it is compared with; repeatable",
    )
    parser.add_argument(
        "--transactions",
        type=int,
        metavar="N",
        help="that 'memory' posts, that 'size' or 'fairness' loads, that 'reconcile' compares, or lines that "
        "'openings' imports",
    )
    parser.add_argument(
        "--database-url",
        metavar="URL",
        help="a PostgreSQL in which to create databases of our own (default: an embedded one)",
    )
    parser.add_argument("--defter", type=Path, default=default_defter(), help="the command to measure")
    parser.add_argument("--no-verify", action="store_true", help="do not replay the journal at the end")
    parser.add_argument(
        "--profile",
        type=Path,
        metavar="FOLDER",
        help="record the server by py-spy in the first round of each line",
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    given = parser.parse_args()
    if given.seconds <= 0 or given.rounds < 1:
        parser.error("--seconds must be positive and --rounds at least 1")
    py_spy = None
    if given.profile:
        py_spy = find_py_spy()
        if py_spy is None:
            parser.error("--profile needs py-spy: pip install py-spy")
        given.profile.mkdir(parents=True, exist_ok=True)
    full = {"size": SIZE_TRANSACTION_COUNT, "fairness": QUICK_TRANSACTION_COUNT}.get(
        given.what, MEMORY_TRANSACTION_COUNT
    )
    return Order(
        what=given.what,
        plan=Plan(
            seconds=QUICK.seconds if given.quick else given.seconds,
            rounds=QUICK.rounds if given.quick else given.rounds,
            py_spy=py_spy,
            profiles=given.profile,
        ),
        only=tuple(given.only),
        transaction_count=given.transactions or (QUICK_TRANSACTION_COUNT if given.quick else full),
        database_url=given.database_url,
        defter=given.defter,
        verify=not given.no_verify,
        json=given.json,
        markdown=given.markdown,
    )


def tell(text: str) -> None:
    """Say how far the run has come, beside the report and never inside a window."""
    print(f"{strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
