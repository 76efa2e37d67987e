"""Owns `defter verify`: a tenant's journal is recomputed by a server, and its progress shown."""

import sys
from typing import Annotated

import typer
from defter.ledger.v1 import journal_pb2
from rich.progress import Progress

from defter_client import LedgerClient
from ledger_server.operator.connection import SERVER, Exit, Tenant, carry_out, complain
from ledger_server.operator.screen import console, print_line


def verify(
    *,
    tenant: Tenant,
    server: Annotated[
        str,
        typer.Option("--server", "--target", envvar="DEFTER_SERVER", help="host:port of a running server"),
    ] = SERVER,
) -> None:
    """Recompute a tenant's chain and balances and compare; exit 1 at the first difference."""

    async def work() -> int:
        result = await _verified(server, tenant)
        out = console()
        print_line(
            out,
            f"{tenant}: {result.sequence} records, {result.posting_count} statement lines,"
            f" {result.account_count} accounts, {result.hold_count} holds,"
            f" {result.payment_count} payments, {result.provider_event_count} provider events,"
            f" {result.finding_count} findings",
        )
        print_line(out, f"chain hash {result.chain_hash.hex()}")
        if not result.HasField("first_difference"):
            print_line(out, "no difference")
            return Exit.DONE
        difference = result.first_difference
        return complain(
            f"DIFFERENCE at record {difference.sequence}: {difference.subject}:"
            f" the journal says {difference.expected}, the database {difference.actual}",
            Exit.FOUND,
        )

    carry_out(work())


async def _verified(server: str, tenant: str) -> journal_pb2.VerifyResult:
    request = journal_pb2.VerifyJournalRequest(tenant_id=tenant)
    result = journal_pb2.VerifyResult()
    screen = console(sys.stderr)
    # The bar goes away when it is done, so that an error stands alone; in a file there is none.
    with Progress(console=screen, transient=True, disable=not screen.is_terminal) as progress:
        task = progress.add_task(f"verifying {tenant}", total=None)
        async with LedgerClient(server) as ledger:
            async for event in ledger.journal.VerifyJournal(request):
                if event.HasField("result"):
                    result = event.result
                else:
                    done = event.progress
                    progress.update(task, completed=done.sequence, total=done.head_sequence)
    return result
