"""Owns `defter player`: a player is forgotten."""

import uuid
from typing import Annotated

import typer
from defter.payments.v1 import player_pb2

from ledger_server.operator.connection import SERVER, Exit, Json, Server, Tenant, carry_out, open_ledger
from ledger_server.operator.screen import console, print_json, print_line

app = typer.Typer(no_args_is_help=True, help="Forget players.")


@app.callback()
def group() -> None:
    """Forget players."""


@app.command("forget")
def forget(
    *,
    tenant: Tenant,
    player: Annotated[str, typer.Option(help="the player's id")],
    reason: Annotated[str, typer.Option(help="why; it is kept for ever, so name no person")],
    json: Json = False,
    server: Server = SERVER,
) -> None:
    """Destroy the key of a player's personal data, for ever; money, ids and the journal stay as they are.

    Each call is recorded, so that a player can be forgotten again after a restore from an older backup.
    """
    request = player_pb2.ForgetPlayerRequest(
        tenant_id=tenant, idempotency_key=f"forget {uuid.uuid4()}", player_id=player, reason=reason
    )

    async def work() -> int:
        async with open_ledger(server) as ledger:
            forgotten = (await ledger.call(ledger.players.ForgetPlayer, request)).forgotten
        out = console()
        if json:
            print_json(out, forgotten)
        else:
            print_line(out, f"{forgotten.player_id} of {tenant} is forgotten; keep that for after a restore")
        return Exit.DONE

    carry_out(work())
