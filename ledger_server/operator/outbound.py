"""Owns `defter outbound`: the state of outbound calls, and stopping and resuming them."""

from typing import Annotated

import typer
from defter.payments.v1 import outbound_pb2 as pb
from rich.console import Console

from ledger_server.operator.connection import (
    SERVER,
    Actor,
    Exit,
    Json,
    Server,
    Stopped,
    actor_or_user,
    carry_out,
    open_ledger,
)
from ledger_server.operator.screen import by_whom, console, print_json, print_line, when

app = typer.Typer(no_args_is_help=True, help="Stop calls to providers, and let them go on.")

_Note = Annotated[str, typer.Option("--note", help="why, for whoever looks next")]


@app.callback()
def group() -> None:
    """Stop calls to providers, and let them go on."""


@app.command("status")
def status(*, json: Json = False, server: Server = SERVER) -> None:
    """Tell whether calls may be made, in which epoch, and what is not reconciled; exits with 1 if stopped."""

    async def work() -> int:
        async with open_ledger(server) as ledger:
            answer = await ledger.outbound.get_outbound(pb.GetOutboundRequest())
        _print(answer.outbound, json=json)
        return Exit.FOUND if answer.outbound.stopped else Exit.DONE

    carry_out(work())


@app.command("stop")
def stop(*, note: _Note, actor: Actor = None, json: Json = False, server: Server = SERVER) -> None:
    """Stop all calls to providers of all tenants; what is owed waits, and everything else goes on."""

    async def work() -> int:
        request = pb.StopOutboundRequest(note=note, actor=actor_or_user(actor))
        async with open_ledger(server) as ledger:
            answer = await ledger.outbound.stop_outbound(request)
        _print(answer.outbound, json=json)
        return Exit.DONE

    carry_out(work())


@app.command("resume")
def resume(
    *,
    note: _Note,
    epoch: Annotated[
        str | None, typer.Option(help="the epoch that was looked at; default: the one that is read now")
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="although accounts are not reconciled, or findings open: you answer for what was lost",
        ),
    ] = False,
    actor: Actor = None,
    json: Json = False,
    server: Server = SERVER,
) -> None:
    """Let calls be made again, once all accounts are reconciled and no finding tells of lost money."""

    async def work() -> int:
        async with open_ledger(server) as ledger:
            found = await ledger.outbound.get_outbound(pb.GetOutboundRequest())
            if found.outbound.unreconciled and not force:
                _print(found.outbound, json=json)
                raise Stopped("not resumed: reconcile these accounts first, or say --force")
            if found.outbound.open_finding_count and not force:
                _print(found.outbound, json=json)
                raise Stopped("not resumed: see to these findings first, or say --force")
            request = pb.ResumeOutboundRequest(
                epoch=found.outbound.epoch if epoch is None else epoch,
                note=note,
                actor=actor_or_user(actor),
                allow_unreconciled=force,
            )
            answer = await ledger.outbound.resume_outbound(request)
        _print(answer.outbound, json=json)
        return Exit.DONE

    carry_out(work())


def _print(outbound: pb.Outbound, *, json: bool) -> None:
    out = console()
    if json:
        print_json(out, outbound)
        return
    state = "stopped" if outbound.stopped else "allowed"
    since = ""
    if outbound.note:
        by = by_whom(outbound.actor, outbound.caller)
        since = f" since {when(outbound.change_time)} by {by}: {outbound.note}"
    print_line(out, f"outbound calls are {state}{since}")
    before = f", after {', '.join(outbound.past_epochs)}" if outbound.past_epochs else ""
    print_line(out, f"epoch: {outbound.epoch or 'none yet'}{before}")
    _print_unreconciled(out, outbound)


def _print_unreconciled(out: Console, outbound: pb.Outbound) -> None:
    if not outbound.HasField("known_until_time"):
        return
    since = read_from(outbound)
    print_line(out, f"the newest record that was not lost is of {outbound.known_until_time.ToJsonString()}")
    for account in outbound.unreconciled:
        print_line(
            out,
            f"not reconciled since: defter reconcile --tenant {account.tenant_id}"
            f" --provider {account.provider} --from {since}"
            f" --to {outbound.begin_time.ToJsonString()} --grace 0s",
        )
    if not outbound.unreconciled:
        print_line(
            out,
            "all provider accounts with payments are reconciled since; see `defter findings list`",
        )
    for finding in outbound.open_findings:
        print_line(
            out,
            f"tells of lost money, and is open: defter findings show {finding.finding_id}"
            f" --tenant {finding.tenant_id}",
        )
    more = outbound.open_finding_count - len(outbound.open_findings)
    if more:
        print_line(out, f"and {more} more")


def read_from(outbound: pb.Outbound) -> str:
    """Return from when on providers have to be read after a loss, as an option takes it."""
    if outbound.HasField("reconcile_from_time"):
        return outbound.reconcile_from_time.ToJsonString()
    return outbound.known_until_time.ToJsonString()  # an earlier server
