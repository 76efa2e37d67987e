"""Owns `defter events`: lists of stored events, rereading of unread ones, and missing kinds of events."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import typer
from defter.payments.v1 import payment_pb2, provider_event_pb2
from rich.console import Console
from rich.text import Text

from ledger_server.operator import words
from ledger_server.operator.connection import (
    SERVER,
    Exit,
    Json,
    Server,
    Stopped,
    Tenant,
    carry_out,
    open_ledger,
)
from ledger_server.operator.event_coverage import Coverage, coverage
from ledger_server.operator.event_rereading import Became, Reread, Rereader, endpoint_of_each
from ledger_server.operator.lists import Limit, Shape, show_list
from ledger_server.operator.screen import console, print_json, print_line, print_table, when
from webhook_edge.needed import PARTS
from webhook_edge.scheme import Endpoint

app = typer.Typer(no_args_is_help=True, help="Look at what providers have told.")

_STATES: Final = words.one_of(payment_pb2.ProviderEventState.DESCRIPTOR, "PROVIDER_EVENT_STATE_")
_File = Annotated[
    Path,
    typer.Option(
        "--endpoints", envvar="DEFTER_EDGE_ENDPOINTS_FILE", help="the edge's file; its secrets are not read"
    ),
]
_Provider = Annotated[str, typer.Option(help="only this provider account")]
_Named = Annotated[str, typer.Option(help="the endpoint whose options count, where an account has several")]


@app.callback()
def group() -> None:
    """Look at what providers have told."""


@app.command("list")
def list_events(
    *,
    tenant: Tenant,
    state: Annotated[
        int,
        typer.Option(parser=_STATES, show_default=False, metavar="STATE", help="only those, such as UNREAD"),
    ] = 0,
    provider: _Provider = "",
    payment: Annotated[str, typer.Option(help="only those of this payment, dep_… or wd_…")] = "",
    limit: Limit = None,
    json: Json = False,
    server: Server = SERVER,
) -> None:
    """List stored events, the oldest first, without their payloads."""
    request = provider_event_pb2.ListProviderEventsRequest(
        tenant_id=tenant,
        provider=provider,
        payment_id=payment,
        state=payment_pb2.ProviderEventState.ValueType(state),
    )

    async def work() -> int:
        async with open_ledger(server) as ledger:
            method = ledger.provider_events.list_provider_events
            await show_list(method, request, _SHAPE, json=json, limit=limit)
        return Exit.DONE

    carry_out(work())


@app.command("reread")
def reread(
    *,
    tenant: Tenant,
    endpoints: _File = Path("endpoints.toml"),
    provider: _Provider = "",
    endpoint: _Named = "",
    ignored: Annotated[
        bool,
        typer.Option(
            "--ignored", help="those too that say nothing, among which older versions put unread ones"
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="tell what would be read; change nothing")
    ] = False,
    json: Json = False,
    server: Server = SERVER,
) -> None:
    """Read unread events again, after an upgrade or when an endpoint's options are right.

    What was stored was verified, so no secret is needed. Exits with 1 while events that move money are still
    unread, and with 3 where an event has no endpoint or its payload was altered.
    """

    async def work() -> int:
        by_provider = endpoint_of_each(_endpoints(endpoints), tenant, provider, endpoint)
        out, counts = console(), Counter[Became]()
        waits = False
        async with open_ledger(server) as ledger:
            rereader = Rereader(ledger, tenant, by_provider, dry_run=dry_run)
            async for one in rereader.events(provider, ignored=ignored):
                counts[one.became] += 1
                waits = waits or (one.became is Became.STILL_UNREAD and one.stored.event.moves_money)
                if one.became is not Became.SAYS_NOTHING:
                    _print_reread(out, one, json=json)
        if not json:
            told = ", ".join(f"{count} {became}" for became, count in sorted(counts.items()))
            print_line(out, f"{sum(counts.values())} events{': ' if told else ''}{told}")
        if any(became.is_problem for became in counts):
            return Exit.PARTIAL
        return Exit.FOUND if waits else Exit.DONE

    carry_out(work())


@app.command("coverage")
def show_coverage(
    *,
    tenant: Tenant,
    endpoints: _File = Path("endpoints.toml"),
    provider: _Provider = "",
    endpoint: _Named = "",
    days: Annotated[int, typer.Option(min=1, max=365, help="of how many days until now")] = 30,
    part: Annotated[
        list[str] | None,
        typer.Option(help=f"what the accounts are used for: {', '.join(PARTS)}; default: all of it"),
    ] = None,
    rare: Annotated[
        bool,
        typer.Option("--rare", help="that what comes only when something goes wrong was not seen counts too"),
    ] = False,
    server: Server = SERVER,
) -> None:
    """Tell which events that are needed of each provider account were not seen; exits with 1 if any."""
    unknown = sorted(set(part or ()) - set(PARTS))
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(PARTS)}", param_hint="--part")

    async def work() -> int:
        by_provider = endpoint_of_each(_endpoints(endpoints), tenant, provider, endpoint)
        since = datetime.now(UTC) - timedelta(days=days)
        found: list[Coverage] = []
        async with open_ledger(server) as ledger:
            for each in by_provider.values():
                found += await coverage(ledger, each, part or PARTS, since)
        _print_coverage(console(), found)
        missing = any(one.missing and (rare or not one.need.rare) for one in found)
        return Exit.FOUND if missing else Exit.DONE

    carry_out(work())


def _endpoints(file: Path) -> Sequence[Endpoint]:
    # The edge's rate limiter comes along, which no other command needs.
    from webhook_edge.configuration import ConfigurationError, read_without_secrets  # noqa: PLC0415

    try:
        return read_without_secrets(file)
    except ConfigurationError as error:
        raise Stopped(str(error)) from None


def _print_reread(out: Console, one: Reread, *, json: bool) -> None:
    if json:
        print_json(out, one.says[0] if one.became is Became.READ else one.stored)
        return
    kinds = ", ".join(
        payment_pb2.ProviderEventType.Name(event.type).removeprefix("PROVIDER_EVENT_TYPE_")
        for event in one.says
    )
    text = {
        Became.READ: f"{kinds} as {one.successor or 'a new event'}",
        Became.STILL_UNREAD: next((event.reason for event in one.says if event.unread_reason), ""),
    }.get(one.became, "")
    stored = one.stored
    line = f"{stored.provider_event_id} {stored.event.provider} {stored.event.provider_type or '-'}"
    print_line(out, f"{line}: {one.became}{f': {text}' if text else ''}")


def _print_coverage(out: Console, found: Sequence[Coverage]) -> None:
    rows: list[Sequence[str | Text]] = [
        [
            one.provider,
            one.need.part,
            one.need.what,
            one.type or " or ".join(one.need.types),
            when(one.seen) if one.seen is not None else "not seen" + (" (rare)" if one.need.rare else ""),
        ]
        for one in found
    ]
    print_table(out, ("provider", "for", "what", "type", "seen"), rows)


def _row(stored: payment_pb2.RecordedProviderEvent) -> list[str | Text]:
    event = stored.event
    return [
        stored.provider_event_id,
        event.provider,
        event.provider_type or "-",
        payment_pb2.ProviderEventState.Name(stored.state).removeprefix("PROVIDER_EVENT_STATE_"),
        stored.payment_id or "-",
        when(stored.receive_time),
        stored.note or (event.reason if event.unread_reason else "") or stored.superseded_by_event_id,
    ]


_SHAPE: Final = Shape(
    "events",
    ("event", "events"),
    ("event", "provider", "type", "state", "payment", "stored", "note"),
    _row,
    whole=("event",),
)
