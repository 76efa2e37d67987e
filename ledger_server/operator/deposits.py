"""Owns `defter deposits`: how many there are, and releasing holds of begun deposits that have no end."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer
from defter.ledger.v1 import account_pb2, hold_pb2
from defter.payments.v1 import deposit_pb2, payment_pb2

from defter_client import LedgerClient, LedgerError
from ledger_server.operator import counts
from ledger_server.operator.connection import (
    SERVER,
    Exit,
    Json,
    Server,
    Tenant,
    carry_out,
    open_ledger,
    pages,
)
from ledger_server.operator.money import known_money
from ledger_server.operator.screen import console, moment, print_line, when

# Refusals that are fine: the deposit was meanwhile paid, cancelled or ended.
_OVER = frozenset(
    {
        "HOLD_ALREADY_CAPTURED",
        "HOLD_ALREADY_RELEASED",
        "HOLD_EXPIRED",
    }
)

app = typer.Typer(no_args_is_help=True, help="Look after begun deposits.")


@app.callback()
def deposits() -> None:
    """Look after begun deposits."""


@app.command("count")
def count(
    *,
    tenant: Tenant,
    from_: counts.From = None,
    to: counts.To = None,
    json: Json = False,
    server: Server = SERVER,
) -> None:
    """Tell how many deposits are open, of how much money, and how old the oldest is."""
    request = deposit_pb2.CountDepositsRequest(tenant_id=tenant, **counts.window(from_, to))

    async def work() -> int:
        async with open_ledger(server) as ledger:
            answer = await ledger.deposits.count_deposits(request)
            money = await known_money(ledger)
        row = counts.of_payments(payment_pb2.DepositState, "DEPOSIT_STATE_", money)
        counts.show_counts(answer, counts.PAYMENTS, row, json=json)
        return Exit.DONE

    carry_out(work())


@app.command("release")
def release(
    *,
    tenant: Tenant,
    begun_before: Annotated[datetime, typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="in UTC")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="tell what would be released; change nothing")
    ] = False,
    server: Server = SERVER,
) -> None:
    """Release what is pending of deposits that were begun before such holds had an end.

    The deposits stay as they are; what a provider takes later is credited in full. It may be stopped and run
    again. Holds that have an end are left alone: they expire by themselves.
    """
    before = begun_before.replace(tzinfo=UTC)

    async def work() -> int:
        out, count = console(), 0
        async with open_ledger(server) as ledger:
            async for hold in _endless(ledger, tenant, before):
                if not dry_run and not await _released(ledger, tenant, hold):
                    continue
                count += 1
                money = f"{hold.remaining_minor} {hold.currency_code} (minor units)"
                print_line(out, f"{hold.hold_id} of {hold.reference}: {money}, since {when(hold.place_time)}")
        print_line(out, f"{count} holds {'to release' if dry_run else 'released'}")
        return Exit.DONE

    carry_out(work())


async def _endless(ledger: LedgerClient, tenant: str, before: datetime) -> AsyncIterator[hold_pb2.Hold]:
    """Yield the open holds of deposits that have no end and were placed before a time, the oldest first."""
    request = hold_pb2.ListHoldsRequest(tenant_id=tenant, state=hold_pb2.HOLD_STATE_OPEN)
    async for page in pages(ledger.holds.list_holds, request, limit=None):
        holds: Sequence[hold_pb2.Hold] = page.holds
        for hold in holds:
            if moment(hold.place_time) >= before:
                return
            endless = not hold.HasField("expire_time") and hold.reference.startswith("dep_")
            if endless and hold.type == account_pb2.TRANSACTION_TYPE_DEPOSIT:
                yield hold


async def _released(ledger: LedgerClient, tenant: str, hold: hold_pb2.Hold) -> bool:
    request = hold_pb2.ReleaseHoldRequest(
        tenant_id=tenant,
        # One outcome for each hold, however often this runs.
        idempotency_key=f"deposits-release:{hold.hold_id}",
        hold_id=hold.hold_id,
    )
    try:
        await ledger.holds.release_hold(request)
    except LedgerError as refused:
        if refused.reason in _OVER:
            return False
        raise
    return True
