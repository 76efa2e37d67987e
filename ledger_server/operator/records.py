"""Owns `defter records`: a provider's records as the latest runs and imports have read them."""

from typing import Annotated, Final

import typer
from defter.reconciliation.v1 import finding_pb2
from defter.reconciliation.v1 import reconciliation_pb2 as pb
from rich.text import Text

from ledger_server.operator import words
from ledger_server.operator.connection import SERVER, Exit, Json, Server, Tenant, carry_out, open_ledger
from ledger_server.operator.lists import Limit, Shape, show_list
from ledger_server.operator.money import Money, known_money
from ledger_server.operator.screen import no_amount, styled, when

app = typer.Typer(no_args_is_help=True, help="Look at what providers list.")

_VERDICTS: Final = words.one_of(pb.Verdict.DESCRIPTOR, "VERDICT_")
_KINDS: Final = words.one_of(finding_pb2.RecordKind.DESCRIPTOR, "RECORD_KIND_")


@app.callback()
def group() -> None:
    """Look at what providers list."""


@app.command("list")
def list_provider_records(
    *,
    tenant: Tenant,
    provider: Annotated[str, typer.Option(help="the provider account")],
    payment: Annotated[str, typer.Option(help="only those of this payment, dep_… or wd_…")] = "",
    ref: Annotated[str, typer.Option(help="only those of this object at the provider")] = "",
    verdict: Annotated[
        int,
        typer.Option(
            parser=_VERDICTS,
            show_default=False,
            metavar="VERDICT",
            help="only those judged so, such as DISCREPANT",
        ),
    ] = 0,
    kind: Annotated[
        int,
        typer.Option(
            parser=_KINDS, show_default=False, metavar="KIND", help="only those of this kind, such as PAYOUT"
        ),
    ] = 0,
    limit: Limit = None,
    json: Json = False,
    server: Server = SERVER,
) -> None:
    """List a provider's records, and what each was matched with."""
    request = pb.ListProviderRecordsRequest(
        tenant_id=tenant,
        provider=provider,
        payment_id=payment,
        provider_ref=ref,
        verdict=pb.Verdict.ValueType(verdict),
        kind=finding_pb2.RecordKind.ValueType(kind),
    )

    async def work() -> int:
        async with open_ledger(server) as ledger:
            shape = provider_records_shape(await known_money(ledger))
            method = ledger.reconciliation.list_provider_records
            await show_list(method, request, shape, json=json, limit=limit)
        return Exit.DONE

    carry_out(work())


def provider_records_shape(money: Money) -> Shape:
    """Return how records become a table."""

    def row(record: pb.ProviderRecord) -> list[str | Text]:
        amount = ""
        if record.HasField("amount_minor"):
            amount = money.show(record.amount_minor, record.currency_code)
        return [
            record.record_id,
            finding_pb2.RecordKind.Name(record.kind).removeprefix("RECORD_KIND_"),
            record.provider_type,
            record.provider_ref,
            amount or no_amount(record.currency_code),
            record.state,
            when(record.create_time),
            record.payment_id or "-",
            pb.MatchTier.Name(record.tier).removeprefix("MATCH_TIER_") if record.tier else "-",
            styled(pb.Verdict.Name(record.verdict).removeprefix("VERDICT_")),
        ]

    columns = (
        "record",
        "kind",
        "type",
        "object",
        "amount",
        "state",
        "made",
        "payment",
        "found by",
        "verdict",
    )
    return Shape("records", ("record", "records"), columns, row, ("amount",))
