"""Own the run of all lines on one ledger, from an empty database to the proof of its books."""

from collections.abc import Callable
from contextlib import AsyncExitStack

import grpc
from defter.ledger.v1.journal_pb2 import VerifyProgress

from bench.circumstances import circumstances
from bench.clients import client_lines
from bench.floor import Floor
from bench.ledger import Asked, Ledger
from bench.lines import Line, Target, all_lines, chosen
from bench.measure import Window
from bench.memory import memory_line
from bench.order import Order, tell
from bench.proof import compare_trial_balance, verify_journal
from bench.report import Report
from bench.results import rows_of
from bench.rounds import run_rounds
from bench.stack import running_stack


async def measure_load(order: Order) -> Report:
    """Measure the chosen lines."""
    async with AsyncExitStack() as running:
        tell("starting PostgreSQL, the ledger and the echo server")
        stack = await running.enter_async_context(running_stack(order.database_url, order.defter))
        database_url = await running.enter_async_context(stack.database("load"))
        served = await running.enter_async_context(stack.ledger(database_url))
        ledger = Ledger(served.channel)
        response = await ledger.prepare()
        message = response.SerializeToString()
        guarded_url = await running.enter_async_context(stack.database("guarded"))
        guarded_served = await running.enter_async_context(stack.ledger(guarded_url, guarded=True))
        guarded_ledger = Ledger(guarded_served.channel)
        await guarded_ledger.prepare()
        echo = await running.enter_async_context(stack.echo(message))
        tuned = await running.enter_async_context(stack.echo(message, tuned=True))
        floor = Floor(database_url=database_url, postmaster=stack.postmaster, folder=stack.folder)
        await floor.prepare()
        target = Target(ledger=ledger, served=served, postmaster=stack.postmaster)
        guarded = Target(ledger=guarded_ledger, served=guarded_served, postmaster=stack.postmaster)
        lines = chosen(
            [
                *all_lines(target, guarded, echo, tuned, floor),
                *client_lines(target),
                memory_line(
                    stack,
                    database_url,
                    ledger.asked,
                    transaction_count=order.transaction_count,
                    on_progress=tell,
                ),
            ],
            order.only,
        )
        windows = await run_rounds(lines, order.plan, on_window=tell_window)
        return Report(
            circumstances=await circumstances(stack.server_url, order.plan, windows),
            rows=rows_of(lines, windows),
            proof=[
                *await prove(served.channel, ledger.asked, verify=order.verify),
                *await prove(guarded_served.channel, guarded_ledger.asked, verify=order.verify),
            ],
            notes={},
        )


async def prove(channel: grpc.aio.Channel, asked: Asked, *, verify: bool) -> list[tuple[bool, str]]:
    """Compare the books with what was sent and, if so wanted, have the journal replayed."""
    proof = []
    # A long run must not be lost because its proof cannot be had; without one it is not sound.
    try:
        proof.append(await compare_trial_balance(channel, asked))
        if verify:
            tell("verifying the journal")
            proof.append(await verify_journal(channel, on_progress=_tell_tenths()))
    except grpc.aio.AioRpcError as error:
        proof.append((False, f"the proof failed: {error.code().name}: {error.details()}"))
    return proof


def tell_window(line: Line, round_number: int, window: Window | None) -> None:
    """Say what a line did in a round."""
    if window is not None:
        failures = window.refusals + window.errors
        complaint = f", {failures} failed: {window.first_failure}" if failures else ""
        tell(f"round {round_number + 1}: {line.name}: {window.rate:,.0f}/s{complaint}")


def _tell_tenths() -> Callable[[VerifyProgress], None]:
    told = 0

    def on_progress(progress: VerifyProgress) -> None:
        nonlocal told
        tenth = progress.sequence * 10 // max(progress.head_sequence, 1)
        if tenth > told:
            told = tenth
            tell(f"verified {progress.sequence:,} of {progress.head_sequence:,} records")

    return on_progress
