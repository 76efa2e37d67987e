"""Owns `defter access`: what the caller may do."""

from typing import Annotated

import typer
from defter.identity.v1 import access_pb2
from rich.console import Console

from ledger_server.operator.connection import SERVER, Exit, Json, Server, carry_out, open_ledger
from ledger_server.operator.screen import by_whom, console, print_json, print_line

_AnyTenant = Annotated[
    str, typer.Option(envvar="DEFTER_TENANT", help="for which tenant; without it: for any")
]


def access(*, tenant: _AnyTenant = "", json: Json = False, server: Server = SERVER) -> None:
    """Tell who you are to a server, and which methods its policy lets you call, one a line.

    Exit codes: 0 some; 1 none.
    """

    async def work() -> int:
        async with open_ledger(server) as ledger:
            told = await ledger.access.get_access(access_pb2.GetAccessRequest(tenant_id=tenant))
        out = console()
        if json:
            print_json(out, told)
        else:
            _print(out, told, tenant)
        return Exit.DONE if told.methods else Exit.FOUND

    carry_out(work())


def _print(out: Console, told: access_pb2.GetAccessResponse, tenant: str) -> None:
    caller = told.caller
    who = by_whom(caller.person or caller.identity, caller) if told.HasField("caller") else "everybody"
    count = len(told.methods)
    print_line(out, f"{who} may call {count} methods for {tenant or 'some tenant'}{':' if count else ''}")
    for method in told.methods:
        print_line(out, f"  {method}")
