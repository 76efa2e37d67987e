"""Owns `defter findings`: findings are listed, shown, acknowledged, resolved, reopened and repaired."""

from datetime import UTC, datetime
from typing import Annotated, Final

import typer
from defter.payments.v1 import payment_pb2
from defter.reconciliation.v1 import finding_pb2 as pb
from rich.console import Console

from defter_client import LedgerClient
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
from ledger_server.operator.csv_output import Csv, one_form, print_csv
from ledger_server.operator.finding_changes import Change, Sent, change_finding, read_finding
from ledger_server.operator.finding_names import whole_id
from ledger_server.operator.finding_screen import (
    findings_shape,
    print_evidence,
    print_finding,
    print_history,
    print_sides,
    short,
)
from ledger_server.operator.lists import Limit, show_list
from ledger_server.operator.money import kept_money, known_money
from ledger_server.operator.screen import console, print_json, print_line, when

app = typer.Typer(no_args_is_help=True, help="Look after what does not agree.")

UNRESOLVED: Final = (
    pb.FINDING_STATE_OPEN,
    pb.FINDING_STATE_ACKNOWLEDGED,
    pb.FINDING_STATE_REOPENED,
)
_STATES: Final = words.one_of(pb.FindingState.DESCRIPTOR, "FINDING_STATE_")
_CLASSES: Final = words.one_of(pb.FindingClass.DESCRIPTOR, "FINDING_CLASS_")
_SEVERITIES: Final = words.one_of(pb.Severity.DESCRIPTOR, "SEVERITY_")
_REASONS: Final = words.one_of(pb.ResolutionReason.DESCRIPTOR, "RESOLUTION_REASON_")

_Id = Annotated[
    str, typer.Argument(metavar="FINDING", help="its id, or as much of it as no other finding's begins with")
]
_Note = Annotated[str, typer.Option(help="a note, at most 1,000 characters")]
_Version = Annotated[
    int | None,
    typer.Option(
        min=1, help="change it only if this is its version; default: the one that is read and shown"
    ),
]


@app.command("list")
def list_findings(
    *,
    tenant: Tenant,
    state: Annotated[
        list[int] | None,
        typer.Option(
            parser=_STATES,
            show_default=False,
            metavar="STATE",
            help="only those that stand there; may be said several times",
        ),
    ] = None,
    class_: Annotated[
        int,
        typer.Option(
            "--class",
            parser=_CLASSES,
            show_default=False,
            metavar="CLASS",
            help="only this class, such as MISSING_IN_LEDGER",
        ),
    ] = 0,
    severity: Annotated[
        int,
        typer.Option(
            parser=_SEVERITIES, show_default=False, metavar="SEVERITY", help="only those at least this severe"
        ),
    ] = 0,
    provider: Annotated[str, typer.Option(help="only those of this provider account")] = "",
    payment: Annotated[str, typer.Option(help="only those of this payment, dep_… or wd_…")] = "",
    assignee: Annotated[str, typer.Option(help="only those that this person looks after")] = "",
    all_: Annotated[bool, typer.Option("--all", help="the resolved ones too")] = False,
    limit: Limit = None,
    json: Json = False,
    csv: Csv = False,
    server: Server = SERVER,
) -> None:
    """List findings, those opened last first; without --state or --all only those that are not resolved."""
    if state and all_:
        raise typer.BadParameter("--all is every state: leave --state out")
    one_form(json=json, csv=csv)
    states = [pb.FindingState.ValueType(number) for number in state or ()]
    request = pb.ListFindingsRequest(
        tenant_id=tenant,
        states=states or (() if all_ else UNRESOLVED),
        finding_class=pb.FindingClass.ValueType(class_),
        min_severity=pb.Severity.ValueType(severity),
        provider=provider,
        payment_id=payment,
        assignee=assignee,
    )

    async def work() -> int:
        async with open_ledger(server) as ledger:
            if csv:
                sheet = sheets.findings(await kept_money(ledger))
                return await print_csv(ledger.findings.list_findings, request, sheet, limit=limit)
            shape = findings_shape(await known_money(ledger), datetime.now(UTC))
            await show_list(ledger.findings.list_findings, request, shape, json=json, limit=limit)
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
    """Tell how many findings are not resolved, by class, severity and state, and how old the oldest is."""
    request = pb.CountFindingsRequest(tenant_id=tenant, **counts.window(from_, to))

    async def work() -> int:
        async with open_ledger(server) as ledger:
            answer = await ledger.findings.count_findings(request)
        counts.show_counts(answer, counts.FINDINGS, counts.of_findings, json=json)
        return Exit.DONE

    carry_out(work())


@app.command("show")
def show_finding(finding: _Id, *, tenant: Tenant, json: Json = False, server: Server = SERVER) -> None:
    """Show one finding: both sides, evidence and history."""

    async def work() -> int:
        async with open_ledger(server) as ledger:
            read = await read_finding(ledger, tenant, await whole_id(ledger, tenant, finding))
            money = await known_money(ledger)
        out = console()
        if json:
            print_json(out, read)
            return Exit.DONE
        print_finding(out, read.finding)
        print_line(out, "")
        print_sides(out, read.finding, money)
        print_evidence(out, read.finding)
        print_line(out, "")
        print_history(out, read.history, money)
        if read.last_seen_run_id:
            print_line(out, f"last seen {when(read.last_seen_time)} UTC by {read.last_seen_run_id}")
        return Exit.DONE

    carry_out(work())


@app.command("ack")
def acknowledge(
    finding: _Id,
    *,
    tenant: Tenant,
    assignee: Annotated[str | None, typer.Option(help="who looks after it; default: who says so")] = None,
    note: _Note = "",
    actor: Actor = None,
    version: _Version = None,
    json: Json = False,
    server: Server = SERVER,
) -> None:
    """Say who looks after a finding."""

    async def work() -> int:
        says = actor_or_user(actor)
        looks_after = assignee or says

        def done(known: pb.Finding) -> bool:
            same = (known.assignee, known.actor, known.note) == (looks_after, says, note)
            return known.state == pb.FINDING_STATE_ACKNOWLEDGED and same

        def send(ledger: LedgerClient, finding_id: str, expected: int, key: str) -> Sent:
            request = pb.AcknowledgeFindingRequest(
                tenant_id=tenant,
                finding_id=finding_id,
                expected_version=expected,
                assignee=looks_after,
                actor=says,
                note=note,
                idempotency_key=key,
            )
            return ledger.findings.acknowledge_finding(request)

        change = Change("acknowledge", (looks_after, says, note), done, send)
        return await change_finding(server, tenant, finding, change, version=version, json=json)

    carry_out(work())


@app.command("resolve")
def resolve(
    finding: _Id,
    *,
    tenant: Tenant,
    reason: Annotated[
        int,
        typer.Option(
            parser=_REASONS,
            show_default=False,
            metavar="REASON",
            help="provider-error, ledger-corrected, timing, written-off, duplicate-of, accepted-difference"
            " or fraud",
        ),
    ],
    note: _Note = "",
    correction: Annotated[str, typer.Option(help="the transaction that puts it right, tx_…")] = "",
    duplicate_of: Annotated[str, typer.Option(help="with --reason duplicate-of: the other finding")] = "",
    actor: Actor = None,
    version: _Version = None,
    json: Json = False,
    server: Server = SERVER,
) -> None:
    """Say why it is none any more."""
    if (reason == pb.RESOLUTION_REASON_DUPLICATE_OF) != bool(duplicate_of):
        raise typer.BadParameter("--reason duplicate-of and --duplicate-of go together")

    async def work() -> int:
        says = actor_or_user(actor)
        other = duplicate_of
        if other:
            async with open_ledger(server) as ledger:
                other = await whole_id(ledger, tenant, duplicate_of)

        def done(known: pb.Finding) -> bool:
            return known.state == pb.FINDING_STATE_RESOLVED and (
                known.resolution_reason,
                known.actor,
                known.note,
                known.correction_transaction_id,
                known.duplicate_of_finding_id,
            ) == (reason, says, note, correction, other)

        def send(ledger: LedgerClient, finding_id: str, expected: int, key: str) -> Sent:
            request = pb.ResolveFindingRequest(
                tenant_id=tenant,
                finding_id=finding_id,
                expected_version=expected,
                reason=pb.ResolutionReason.ValueType(reason),
                actor=says,
                note=note,
                correction_transaction_id=correction,
                duplicate_of_finding_id=other,
                idempotency_key=key,
            )
            return ledger.findings.resolve_finding(request)

        change = Change("resolve", (str(reason), says, note, correction, other), done, send)
        return await change_finding(server, tenant, finding, change, version=version, json=json)

    carry_out(work())


@app.command("reopen")
def reopen(
    finding: _Id,
    *,
    tenant: Tenant,
    note: _Note = "",
    actor: Actor = None,
    version: _Version = None,
    json: Json = False,
    server: Server = SERVER,
) -> None:
    """Take a resolved finding up again."""

    async def work() -> int:
        says = actor_or_user(actor)

        def done(known: pb.Finding) -> bool:
            return known.state == pb.FINDING_STATE_REOPENED and (known.actor, known.note) == (says, note)

        def send(ledger: LedgerClient, finding_id: str, expected: int, key: str) -> Sent:
            request = pb.ReopenFindingRequest(
                tenant_id=tenant,
                finding_id=finding_id,
                expected_version=expected,
                actor=says,
                note=note,
                idempotency_key=key,
            )
            return ledger.findings.reopen_finding(request)

        change = Change("reopen", (says, note), done, send)
        return await change_finding(server, tenant, finding, change, version=version, json=json)

    carry_out(work())


@app.command("repair")
def repair(
    finding: _Id, *, tenant: Tenant, actor: Actor = None, json: Json = False, server: Server = SERVER
) -> None:
    """Book what the provider's record says, as if its webhook had arrived; done twice, it changes nothing."""

    async def work() -> int:
        says = actor_or_user(actor)
        async with open_ledger(server) as ledger:
            finding_id = await whole_id(ledger, tenant, finding)
            request = pb.RepairFindingRequest(tenant_id=tenant, finding_id=finding_id, actor=says)
            response = await ledger.findings.repair_finding(request)
        if json:
            print_json(console(), response)
        else:
            _print_repair(console(), finding_id, response)
        return Exit.DONE

    carry_out(work())


def _print_repair(out: Console, finding_id: str, response: pb.RepairFindingResponse) -> None:
    event = response.event
    kind = payment_pb2.ProviderEventType.Name(event.event.type).removeprefix("PROVIDER_EVENT_TYPE_")
    state = payment_pb2.ProviderEventState.Name(event.state).removeprefix("PROVIDER_EVENT_STATE_")
    before = ", as it was before: nothing has changed" if response.duplicate else ""
    note = f" ({event.note})" if event.note else ""
    print_line(out, f"{short(finding_id)}: {kind} is {event.provider_event_id}, {state}{note}{before}")
    print_line(
        out, "The finding resolves with the next complete run over that time: `defter reconcile --again`."
    )
