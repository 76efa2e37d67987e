"""Owns `defter restored`: what a restore or a failover may have lost, and the next steps."""

import json as json_module
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from defter.ledger.v1 import tenant_pb2
from defter.payments.v1 import outbound_pb2, payment_pb2, provider_event_pb2
from defter.reconciliation.v1 import finding_pb2
from google.protobuf.json_format import MessageToDict

from defter_client import LedgerClient
from ledger_server.operator.connection import SERVER, Json, Server, Stopped, carry_out, open_ledger, pages
from ledger_server.operator.findings import UNRESOLVED
from ledger_server.operator.head import verified_heads, walked
from ledger_server.operator.head_chain import ChainWalk
from ledger_server.operator.head_form import FiledHead
from ledger_server.operator.loss import CLASSES, SEVERITIES, Situation, TenantLoss, loss_of, sentences, steps
from ledger_server.operator.screen import console, print_line


def restored(
    *,
    file: Annotated[
        Path | None, typer.Option(help="the heads published before; without it less is known")
    ] = None,
    key: Annotated[
        list[Path] | None, typer.Option(help="the publisher's public key; several are allowed")
    ] = None,
    json: Json = False,
    server: Server = SERVER,
) -> None:
    """Tell what a restore or a failover may have lost, and what to do next.

    Exit codes: 0 nothing can be lost, or somebody has answered for it; 1 published records are lost or
    altered; 2 wrong usage or refused; 3 commits may be lost, and calls are stopped: go on as it says; 4 no
    server answers; 6 the file has something else than heads, or a signature is wrong; 7 a head is signed by
    another key.
    """
    carry_out(_restored(server, file, key or [], as_json=json))


async def _restored(server: str, file: Path | None, keys: Sequence[Path], *, as_json: bool) -> int:
    if (file is None) == bool(keys):
        raise Stopped("--file and --key go together: heads count by the key that they are signed with")
    heads = [] if file is None else verified_heads(file, keys)
    async with open_ledger(server) as ledger:
        answer = await ledger.outbound.get_outbound(outbound_pb2.GetOutboundRequest())
        tenants = await _tenants(ledger)
        found = Situation(
            answer.outbound,
            await _losses(ledger, tenants, heads, answer.outbound.epoch),
            await _open_counts(ledger, tenants),
        )
    if as_json:
        console().print(json_module.dumps(_fields(found)), soft_wrap=True)
    else:
        _print(found)
    return found.code


async def _tenants(ledger: LedgerClient) -> list[str]:
    everyone = tenant_pb2.ListTenantsRequest()
    return [
        tenant.tenant_id
        async for page in pages(ledger.tenants.list_tenants, everyone, limit=None)
        for tenant in page.tenants
    ]


async def _losses(
    ledger: LedgerClient, tenants: Sequence[str], heads: Sequence[FiledHead], epoch: str
) -> list[TenantLoss]:
    """Return what the heads say of each tenant's journal: of those that are there, and those published."""
    of: dict[str, list[FiledHead]] = {}
    for each in heads:
        of.setdefault(each.head.tenant_id, []).append(each)
    losses = [TenantLoss(name) for name in tenants if heads and name not in of]
    for name, theirs in of.items():
        walk = ChainWalk(name, theirs)
        broken = await walked(ledger, name, walk)
        losses.append(loss_of(name, walk, broken, heads=theirs, epoch=epoch))
    return sorted(losses, key=lambda each: each.tenant_id)


async def _open_counts(ledger: LedgerClient, tenants: Sequence[str]) -> dict[tuple[str, str], int]:
    counts: dict[tuple[str, str], int] = {}
    for tenant in tenants:
        for name in CLASSES:
            findings = finding_pb2.ListFindingsRequest(
                tenant_id=tenant,
                states=UNRESOLVED,
                finding_class=finding_pb2.FindingClass.Value(f"FINDING_CLASS_{name}"),
            )
            async for page in pages(ledger.findings.list_findings, findings, limit=None):
                urgent = sum(finding.severity in SEVERITIES for finding in page.findings)
                counts[tenant, name] = counts.get((tenant, name), 0) + urgent
        parked = provider_event_pb2.ListProviderEventsRequest(
            tenant_id=tenant, state=payment_pb2.PROVIDER_EVENT_STATE_PARKED
        )
        async for shown in pages(ledger.provider_events.list_provider_events, parked, limit=None):
            counts[tenant, "PARKED"] = counts.get((tenant, "PARKED"), 0) + len(shown.events)
    return {place: count for place, count in counts.items() if count}


def _print(found: Situation) -> None:
    out = console()
    for line in sentences(found):
        print_line(out, line)
    for (tenant, name), count in sorted(found.open_counts.items()):
        what = "events are parked" if name == "PARKED" else f"findings {name} are unresolved"
        print_line(out, f"{tenant}: {count} {what}")
    for number, (text, commands) in enumerate(steps(found), 1):
        print_line(out, f"{number}. {text}")
        for command in commands:
            print_line(out, f"   {command}")


def _fields(found: Situation) -> dict[str, Any]:
    outbound = MessageToDict(
        found.outbound, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return {
        "outbound": outbound,
        "is_answered_for": found.is_answered_for,
        "tenants": [
            {
                "tenant_id": each.tenant_id,
                "published_sequence": each.last.sequence if each.last else 0,
                "held_sequence": each.held.sequence if each.held else 0,
                "kept_sequence": each.kept,
                "sequence": each.sequence,
                "broken": each.broken and {"sequence": each.broken.sequence, "text": each.broken.text},
            }
            for each in found.losses
        ],
        "open": [
            {"tenant_id": tenant, "what": name, "count": count}
            for (tenant, name), count in sorted(found.open_counts.items())
        ],
        "steps": [{"text": text, "commands": commands} for text, commands in steps(found)],
    }
