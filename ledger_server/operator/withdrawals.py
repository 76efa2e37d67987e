"""Owns `defter withdrawals`: what players have asked to be paid out, and who works on it."""

from datetime import timedelta
from typing import Annotated, Final

import typer
from defter.payments.v1 import payment_pb2, withdrawal_pb2

from ledger_server.operator import counts, sheets, words
from ledger_server.operator.connection import (
    SERVER,
    Actor,
    Exit,
    Json,
    Server,
    Tenant,
    actor_or_user,
    carry_out,
    open_ledger,
)
from ledger_server.operator.csv_output import Csv, Sheet, one_form, print_csv
from ledger_server.operator.lists import Limit, Shape, show_list
from ledger_server.operator.money import kept_money, known_money
from ledger_server.operator.screen import console, print_json, print_line, when

app = typer.Typer(no_args_is_help=True, help="See withdrawals, and say who works on them.")

_PREFIX: Final = "WITHDRAWAL_STATE_"
_STATES: Final = words.one_of(payment_pb2.WithdrawalState.DESCRIPTOR, _PREFIX)
_Id = Annotated[str, typer.Argument(metavar="WITHDRAWAL", help="its id, wd_…")]


@app.callback()
def group() -> None:
    """See withdrawals, and say who works on them."""


@app.command("list")
def list_withdrawals(
    *,
    tenant: Tenant,
    player: Annotated[str, typer.Option(help="only those of this player")] = "",
    state: Annotated[
        list[int] | None,
        typer.Option(
            parser=_STATES,
            show_default=False,
            metavar="STATE",
            help="only those that stand there; may be said several times",
        ),
    ] = None,
    provider: Annotated[str, typer.Option(help="only those of this provider account")] = "",
    provider_ref: Annotated[
        str, typer.Option(help="only those with this id of the provider's, at any account")
    ] = "",
    reference: Annotated[str, typer.Option(help="only those with exactly this reference of yours")] = "",
    currency: Annotated[str, typer.Option(help="only those in this currency")] = "",
    min_minor: Annotated[
        int, typer.Option(min=0, help="with --currency: only those of so many minor units at least")
    ] = 0,
    max_minor: Annotated[
        int, typer.Option(min=0, help="with --currency: only those of so many minor units at most")
    ] = 0,
    newest: Annotated[bool, typer.Option("--newest", help="the newest first")] = False,
    limit: Limit = None,
    json: Json = False,
    csv: Csv = False,
    server: Server = SERVER,
) -> None:
    """List withdrawals in the order in which they were asked for, or the newest first."""
    one_form(json=json, csv=csv)
    if (min_minor or max_minor) and not currency:
        raise typer.BadParameter("say --currency, too: amounts of several can't be compared")
    states = [payment_pb2.WithdrawalState.ValueType(number) for number in state or ()]
    request = withdrawal_pb2.ListWithdrawalsRequest(
        tenant_id=tenant,
        player_id=player,
        # A server that does not know several states knows one.
        state=states[0] if len(states) == 1 else payment_pb2.WITHDRAWAL_STATE_UNSPECIFIED,
        states=states if len(states) > 1 else (),
        provider=provider,
        provider_ref=provider_ref,
        reference=reference,
        currency_code=currency,
        min_amount_minor=min_minor,
        max_amount_minor=max_minor,
        newest_first=newest,
    )

    async def work() -> int:
        async with open_ledger(server) as ledger:
            sheet, method = sheets.withdrawals(await kept_money(ledger)), ledger.withdrawals.list_withdrawals
            if csv:
                return await print_csv(method, request, sheet, limit=limit)
            await show_list(method, request, _shape(sheet), json=json, limit=limit)
        return Exit.DONE

    carry_out(work())


@app.command("count")
def count(
    *,
    tenant: Tenant,
    from_: counts.From = None,
    to: counts.To = None,
    json: Json = False,
    server: Server = SERVER,
) -> None:
    """Tell how many withdrawals are open, of how much money, and how old the oldest is."""
    request = withdrawal_pb2.CountWithdrawalsRequest(tenant_id=tenant, **counts.window(from_, to))

    async def work() -> int:
        async with open_ledger(server) as ledger:
            answer = await ledger.withdrawals.count_withdrawals(request)
            money = await known_money(ledger)
        row = counts.of_payments(payment_pb2.WithdrawalState, _PREFIX, money)
        counts.show_counts(answer, counts.PAYMENTS, row, json=json)
        return Exit.DONE

    carry_out(work())


@app.command("claim")
def claim(
    withdrawal: _Id,
    *,
    tenant: Tenant,
    length: Annotated[
        timedelta,
        typer.Option(
            "--for",
            parser=words.read_by(words.duration),
            metavar="LENGTH",
            help="for how long, such as 15m: from 60s to 24h",
        ),
    ] = timedelta(minutes=15),
    take_over: Annotated[bool, typer.Option("--take-over", help="although a colleague works on it")] = False,
    release: Annotated[bool, typer.Option("--release", help="say that nobody works on it any more")] = False,
    actor: Actor = None,
    json: Json = False,
    server: Server = SERVER,
) -> None:
    """Tell colleagues that you work on a withdrawal; it forbids them nothing."""

    async def work() -> int:
        request = withdrawal_pb2.ClaimWithdrawalRequest(
            tenant_id=tenant,
            withdrawal_id=withdrawal,
            reviewer=actor_or_user(actor),
            claim_seconds=int(length.total_seconds()),
            take_over=take_over,
            release=release,
        )
        async with open_ledger(server) as ledger:
            found = (await ledger.withdrawals.claim_withdrawal(request)).response.withdrawal
        if json:
            print_json(console(), found)
        elif found.HasField("claim"):
            until = f"until {when(found.claim.expire_time)} UTC"
            print_line(console(), f"{found.withdrawal_id}: {found.claim.reviewer} works on it, {until}")
        else:
            print_line(console(), f"{found.withdrawal_id}: nobody works on it")
        return Exit.DONE

    carry_out(work())


@app.command("note")
def add_note(
    withdrawal: _Id,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="the note, at most 512 characters")],
    *,
    tenant: Tenant,
    actor: Actor = None,
    json: Json = False,
    server: Server = SERVER,
) -> None:
    """Add a note to a withdrawal, for good: no personal data."""

    async def work() -> int:
        request = withdrawal_pb2.AddWithdrawalNoteRequest(
            tenant_id=tenant, withdrawal_id=withdrawal, reviewer=actor_or_user(actor), text=text
        )
        async with open_ledger(server) as ledger:
            found = (await ledger.withdrawals.add_withdrawal_note(request)).response.withdrawal
        if json:
            print_json(console(), found)
            return Exit.DONE
        for note in found.notes:
            print_line(console(), f"{when(note.note_time)} UTC, {note.reviewer}: {note.text}")
        return Exit.DONE

    carry_out(work())


def _shape(sheet: Sheet) -> Shape:
    """Return the table: some columns of the sheet."""
    columns = ("withdrawal_id", "player_id", "provider", "state", "amount", "currency_code", "request_time")
    places = [sheet.columns.index(name) for name in columns]

    def row(asked: payment_pb2.Withdrawal) -> list[str]:
        [cells] = sheet.rows(asked)
        return [cells[place] for place in places]

    return Shape(sheet.field, ("withdrawal", "withdrawals"), columns, row, right=("amount",))
