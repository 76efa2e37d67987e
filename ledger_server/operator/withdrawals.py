"""Owns `defter withdrawals`: what players have asked to be paid out."""

from typing import Annotated, Final

import typer
from defter.payments.v1 import payment_pb2, withdrawal_pb2

from ledger_server.operator import sheets, words
from ledger_server.operator.connection import SERVER, Exit, Json, Server, Tenant, carry_out, open_ledger
from ledger_server.operator.csv_output import Csv, Sheet, one_form, print_csv
from ledger_server.operator.lists import Limit, Shape, show_list
from ledger_server.operator.money import kept_money

app = typer.Typer(no_args_is_help=True, help="See withdrawals.")

_STATES: Final = words.one_of(payment_pb2.WithdrawalState.DESCRIPTOR, "WITHDRAWAL_STATE_")


@app.callback()
def group() -> None:
    """See withdrawals."""


@app.command("list")
def list_withdrawals(
    *,
    tenant: Tenant,
    player: Annotated[str, typer.Option(help="only those of this player")] = "",
    state: Annotated[
        int,
        typer.Option(parser=_STATES, show_default=False, metavar="STATE", help="only those that stand there"),
    ] = 0,
    provider: Annotated[str, typer.Option(help="only those of this provider account")] = "",
    limit: Limit = None,
    json: Json = False,
    csv: Csv = False,
    server: Server = SERVER,
) -> None:
    """List withdrawals in the order in which they were asked for."""
    one_form(json=json, csv=csv)
    request = withdrawal_pb2.ListWithdrawalsRequest(
        tenant_id=tenant,
        player_id=player,
        state=payment_pb2.WithdrawalState.ValueType(state),
        provider=provider,
    )

    async def work() -> int:
        async with open_ledger(server) as ledger:
            sheet, method = sheets.withdrawals(await kept_money(ledger)), ledger.withdrawals.list_withdrawals
            if csv:
                return await print_csv(method, request, sheet, limit=limit)
            await show_list(method, request, _shape(sheet), json=json, limit=limit)
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
