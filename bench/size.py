"""Own the run at scale: the same lines on a small database and on a large one, by turns.

Both databases live in one PostgreSQL, each with a ledger server of its own, so that the machine's
drift over the long loading cannot be taken for an effect of size. The small one begins empty.
"""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp

from bench.circumstances import circumstances
from bench.explain import explain_reads
from bench.ledger import Ledger
from bench.lines import BATCH_READS_IN_FLIGHT, Check, Line, Target, chosen
from bench.load import prove, tell_window
from bench.memory import load_transactions
from bench.order import Order, tell
from bench.payloads import account_id
from bench.report import Report
from bench.results import rows_of
from bench.rounds import run_rounds
from bench.stack import Stack, connected, running_stack

SMALL, LARGE = "small", "large"
RATIO_MIN = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Sized:
    """One of the two ledgers.

    Attributes:
        old_time: when its accounts had been funded and nothing else had happened.
    """

    target: Target
    database_url: str
    old_time: Timestamp


async def measure_size(order: Order) -> Report:
    """Fill one of two databases through the ledger, then measure both."""
    async with AsyncExitStack() as running:
        stack = await running.enter_async_context(running_stack(order.database_url, order.defter))
        ledgers = {name: await _start(name, stack, running) for name in (SMALL, LARGE)}
        notes = await _plans(SMALL, ledgers)
        large = ledgers[LARGE].target
        tell(f"loading {order.transaction_count:,} transactions")
        loaded = await load_transactions(
            large.ledger, order.transaction_count, meters=large.meters, on_progress=tell
        )
        tell(f"{loaded.operations:,} transactions loaded at {loaded.rate:,.0f}/s")
        await _settle(stack)
        notes |= await _plans(LARGE, ledgers)
        lines = chosen(
            [
                line
                for pair in zip(
                    _lines(SMALL, ledgers[SMALL], against=""),
                    _lines(LARGE, ledgers[LARGE], against=SMALL),
                    strict=True,
                )
                for line in pair
            ],
            order.only,
        )
        windows = await run_rounds(lines, order.plan, on_window=tell_window)
        proof = []
        for sized in ledgers.values():
            target = sized.target
            proof += await prove(target.served.channel, target.ledger.asked, verify=order.verify)
        described = await circumstances(stack.server_url, order.plan, windows)
        described["large"] = (
            f"{loaded.operations:,} transactions loaded at {loaded.rate:,.0f}/s, "
            f"{await _size(ledgers[LARGE].database_url)}; small: "
            f"{await _size(ledgers[SMALL].database_url)} at the end"
        )
        return Report(circumstances=described, rows=rows_of(lines, windows), proof=proof, notes=notes)


async def _start(name: str, stack: Stack, running: AsyncExitStack) -> Sized:
    database_url = await running.enter_async_context(stack.database(name))
    served = await running.enter_async_context(stack.ledger(database_url))
    ledger = Ledger(served.channel)
    first = await ledger.prepare()
    return Sized(
        target=Target(ledger=ledger, served=served, postmaster=stack.postmaster),
        database_url=database_url,
        old_time=first.transaction.record_time,
    )


def _lines(name: str, sized: Sized, *, against: str) -> list[Line]:
    def checks(line: str, bound: float | None = None) -> list[Check]:
        return [Check(baselines=(f"{line}-{against}",), bound=bound)] if against else []

    target, ledger = sized.target, sized.target.ledger
    return [
        target.unary(f"unary-64-{name}", 64, *checks("unary-64", RATIO_MIN)),
        target.batch(f"batch-{name}", *checks("batch", RATIO_MIN)),
        target.line(
            f"old-balance-{name}",
            f"GetBalance before the load, {BATCH_READS_IN_FLIGHT} in flight",
            [ledger.read_old_balance(sized.old_time)] * BATCH_READS_IN_FLIGHT,
            *checks("old-balance"),
            books=False,
        ),
        target.line(
            f"statement-{name}",
            f"ListPostings, the load's first 100 lines, {BATCH_READS_IN_FLIGHT} in flight",
            [ledger.read_statement(sized.old_time)] * BATCH_READS_IN_FLIGHT,
            *checks("statement"),
            books=False,
        ),
    ]


async def _plans(name: str, ledgers: Mapping[str, Sized]) -> dict[str, str]:
    url = ledgers[name].database_url
    return {f"Plans on the {name} database": await explain_reads(url, account_id(1))}


async def _settle(stack: Stack) -> None:
    # The load's dirty pages would otherwise be written during one line or another.
    async with connected(stack.server_url) as connection:
        await connection.execute("CHECKPOINT")


async def _size(database_url: str) -> str:
    async with connected(database_url) as connection:
        return str(await connection.fetchval("SELECT pg_size_pretty(pg_database_size(current_database()))"))
