"""Owns `defter tenant`: tenants are created, listed, shown, and switched between SHADOW and ENFORCED."""

import uuid
from collections.abc import Collection
from typing import Annotated, Final

import typer
from defter.ledger.v1 import tenant_pb2 as pb
from rich.console import Console

from defter_client import LedgerClient, LedgerError
from ledger_server.operator.connection import (
    SERVER,
    Exit,
    Json,
    Server,
    Tenant,
    carry_out,
    complain,
    open_ledger,
    told,
)
from ledger_server.operator.lists import Limit, Shape, show_list
from ledger_server.operator.screen import by_whom, console, print_facts, print_json, print_line, when

app = typer.Typer(no_args_is_help=True, help="Create tenants, and say how strictly they are enforced.")

# All accounts are looked at, and there may be millions.
_SURVEY_SECONDS: Final = 300.0
_STANDS_AGAINST: Final = frozenset({"ACCOUNTS_BELOW_LIMIT", "BLOCKING_FINDINGS_OPEN"})


@app.callback()
def group() -> None:
    """Create tenants, and say how strictly they are enforced."""


@app.command("create")
def create(
    *,
    tenant: Tenant,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="record everything and refuse nothing for lack of funds")
    ] = False,
    json: Json = False,
    server: Server = SERVER,
) -> None:
    """Create a tenant, which enforces limits unless --shadow is said. Saying it twice is the same as once."""
    mode = pb.BALANCE_ENFORCEMENT_SHADOW if shadow else pb.BALANCE_ENFORCEMENT_ENFORCED
    request = pb.CreateTenantRequest(
        tenant_id=tenant,
        idempotency_key=f"defter tenant create {_name(mode)}",
        balance_enforcement=mode,
    )

    async def work() -> int:
        async with open_ledger(server) as ledger:
            created = (await ledger.tenants.create_tenant(request)).response.tenant
        out = console()
        if json:
            print_json(out, created)
        else:
            print_line(out, f"{tenant} was created {_name(created.balance_enforcement)}")
        return Exit.DONE

    carry_out(work())


@app.command("list")
def list_tenants(*, limit: Limit = None, json: Json = False, server: Server = SERVER) -> None:
    """List the tenants that the caller may see, by id."""
    shape = Shape(
        field="tenants",
        nouns=("tenant", "tenants"),
        columns=("tenant", "mode", "created", "records"),
        row=lambda each: (
            each.tenant_id,
            _name(each.balance_enforcement),
            when(each.create_time),
            str(each.head_sequence),
        ),
        right=("records",),
    )

    async def work() -> int:
        async with open_ledger(server) as ledger:
            request = pb.ListTenantsRequest()
            await show_list(ledger.tenants.list_tenants, request, shape, json=json, limit=limit)
        return Exit.DONE

    carry_out(work())


@app.command("show")
def show(*, tenant: Tenant, json: Json = False, server: Server = SERVER) -> None:
    """Tell the mode, who set it, when and why, and what stands against ENFORCED; looks at every account."""

    async def work() -> int:
        request = pb.GetBalanceEnforcementRequest(tenant_id=tenant)
        async with open_ledger(server) as ledger:
            now = await ledger.tenants.get_balance_enforcement(request, timeout=_SURVEY_SECONDS)
        out = console()
        if json:
            print_json(out, now)
        else:
            _print(out, now)
        return Exit.DONE

    carry_out(work())


@app.command("enforce")
def enforce(
    *,
    tenant: Tenant,
    reason: Annotated[str, typer.Option(help="why; it is kept for ever, so name no player")] = "",
    force: Annotated[
        bool,
        typer.Option("--force", help="although something stands against it; needs --reason"),
    ] = False,
    json: Json = False,
    server: Server = SERVER,
) -> None:
    """Refuse from here on what would break a limit.

    It is refused while accounts stand below their lower limit or blocking findings are open: exit code 1.
    """
    if force and not reason.strip():
        raise typer.BadParameter("--force needs --reason")
    carry_out(_switch(server, tenant, pb.BALANCE_ENFORCEMENT_ENFORCED, reason=reason, force=force, json=json))


@app.command("shadow")
def shadow(
    *,
    tenant: Tenant,
    reason: Annotated[str, typer.Option(help="why; it is kept for ever, so name no player")],
    json: Json = False,
    server: Server = SERVER,
) -> None:
    """Let pass, marked, from here on what would break a limit: the way back from ENFORCED."""
    if not reason.strip():
        raise typer.BadParameter("--reason is empty")
    carry_out(_switch(server, tenant, pb.BALANCE_ENFORCEMENT_SHADOW, reason=reason, force=False, json=json))


async def _switch(
    server: str,
    tenant: str,
    mode: pb.BalanceEnforcement.ValueType,
    *,
    reason: str,
    force: bool,
    json: bool,
) -> int:
    out = console()
    async with open_ledger(server) as ledger:
        read = await ledger.tenants.get_tenant(pb.GetTenantRequest(tenant_id=tenant))
        if read.tenant.balance_enforcement == mode:
            # A command line that is said again because its answer was lost finds what it has done.
            return _print_switched(out, read.tenant, "already", json=json)
        request = pb.SetBalanceEnforcementRequest(
            tenant_id=tenant,
            # A refusal is final for its key, and what stood in the way may be gone the next time.
            idempotency_key=str(uuid.uuid4()),
            balance_enforcement=mode,
            reason=reason,
            force=force,
        )
        try:
            switched = await _asked(ledger, request)
        except LedgerError as error:
            if error.reason not in _STANDS_AGAINST:
                raise
            return complain(told(error), Exit.FOUND)
    told_by = switched.balance_enforcement_switch
    text = "from here on"
    if force:
        text += (
            f", by force: {told_by.below_limit_count} accounts stood below their limit,"
            f" {told_by.blocking_finding_count} blocking findings were open"
        )
    return _print_switched(out, switched, text, json=json)


async def _asked(ledger: LedgerClient, request: pb.SetBalanceEnforcementRequest) -> pb.Tenant:
    answer = await ledger.tenants.set_balance_enforcement(request, timeout=_SURVEY_SECONDS)
    return answer.response.tenant


def _print_switched(out: Console, tenant: pb.Tenant, text: str, *, json: bool) -> int:
    if json:
        print_json(out, tenant)
    else:
        print_line(out, f"{tenant.tenant_id} is {_name(tenant.balance_enforcement)} {text}")
    return Exit.DONE


def _print(out: Console, now: pb.GetBalanceEnforcementResponse) -> None:
    tenant, switch = now.tenant, now.newest_switch
    caller = now.switched_by
    forced = ""
    if switch.forced:
        forced = (
            f"although {switch.below_limit_count} accounts stood below their limit and"
            f" {switch.blocking_finding_count} blocking findings were open"
        )
    broken = f"{now.breached_transaction_count} transactions, {now.breached_hold_count} holds"
    facts = (
        ("tenant", tenant.tenant_id),
        ("mode", _name(tenant.balance_enforcement)),
        ("since", f"{when(now.switch_time)} UTC, record {now.switch_sequence}"),
        ("by", by_whom(caller.person or caller.identity, caller)),
        ("why", switch.reason),
        ("forced", forced),
        ("newest record", str(tenant.head_sequence)),
        ("limits broken since", broken),
        ("below their limit", _counted(now.below_limit_count, now.below_limit_account_ids, "accounts")),
        ("blocking findings", _counted(now.blocking_finding_count, now.blocking_finding_ids, "open")),
    )
    print_facts(out, facts)


def _counted(count: int, examples: Collection[str], noun: str) -> str:
    named = ", ".join(examples)
    return f"{count} {noun}{f': {named}' if named else ''}{', …' if count > len(examples) else ''}"


def _name(mode: pb.BalanceEnforcement.ValueType) -> str:
    return pb.BalanceEnforcement.Name(mode).removeprefix("BALANCE_ENFORCEMENT_")
