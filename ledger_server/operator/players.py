"""Owns `defter player`: a player is forgotten."""

import sys
import uuid
from typing import Annotated

import typer
from defter.payments.v1 import deposit_pb2, player_pb2, wallet_pb2, withdrawal_pb2

from defter_client import LedgerClient, LedgerError
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

    Each call is recorded, so that a player can be forgotten again after a restore from an older backup. An id
    of which the ledger has no wallet and no payment is forgotten too, and that is told: it may be mistyped.
    """
    request = player_pb2.ForgetPlayerRequest(
        tenant_id=tenant, idempotency_key=f"forget {uuid.uuid4()}", player_id=player, reason=reason
    )

    async def work() -> int:
        async with open_ledger(server) as ledger:
            forgotten = (await ledger.players.forget_player(request)).response.forgotten
            doubt = await _doubt(ledger, tenant, player)
        out = console()
        if json:
            print_json(out, forgotten)
        else:
            print_line(out, f"{forgotten.player_id} of {tenant} is forgotten; keep that for after a restore")
        if doubt:
            print_line(console(sys.stderr), doubt)
        return Exit.DONE

    carry_out(work())


async def _doubt(ledger: LedgerClient, tenant: str, player: str) -> str:
    """Return what speaks against an id; empty where the ledger knows a wallet or a payment of that player."""
    try:
        if await _is_known(ledger, tenant, player):
            return ""
    except LedgerError as error:
        return f"nobody can tell whether the ledger knows {player}: {error.reason or error}"
    return f"no wallet and no payment of {player} is known in {tenant}: was that the id?"


async def _is_known(ledger: LedgerClient, tenant: str, player: str) -> bool:
    try:
        await ledger.wallets.get_wallet(wallet_pb2.GetWalletRequest(tenant_id=tenant, player_id=player))
    except LedgerError as error:
        if error.reason != "WALLET_NOT_FOUND":
            raise
    else:
        return True
    deposits = deposit_pb2.ListDepositsRequest(tenant_id=tenant, player_id=player, page_size=1)
    async for _ in ledger.deposits.list_deposits(deposits):
        return True
    withdrawals = withdrawal_pb2.ListWithdrawalsRequest(tenant_id=tenant, player_id=player, page_size=1)
    async for _ in ledger.withdrawals.list_withdrawals(withdrawals):
        return True
    return False
