"""Owns `defter verify`: the journals of tenants are recomputed by a server, and the progress shown."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Final

import typer
from defter.ledger.v1 import journal_pb2, tenant_pb2
from google.protobuf.json_format import MessageToDict
from rich.console import Console
from rich.progress import Progress

from defter_client import LedgerClient, LedgerError
from ledger_server.operator.connection import (
    SERVER,
    Exit,
    Json,
    Stopped,
    breaks,
    carry_out,
    complain,
    exit_of,
    open_ledger,
    pages,
    told,
)
from ledger_server.operator.screen import console, print_line

LINE_SECONDS: Final = 10.0
"""How often progress is told where nobody looks at a terminal."""


def verify(
    context: typer.Context,
    *,
    tenant: Annotated[str | None, typer.Option(envvar="DEFTER_TENANT", help="the tenant")] = None,
    every: Annotated[bool, typer.Option("--all", help="every tenant, one after the other")] = False,
    server: Annotated[
        str,
        typer.Option("--server", "--target", envvar="DEFTER_SERVER", help="host:port of a running server"),
    ] = SERVER,
    as_json: Json = False,
) -> None:
    """Recompute a tenant's chain and balances and compare; exit 1 at the first difference.

    Progress goes to standard error: a bar on a terminal, else a line every ten seconds.
    """
    source = context.get_parameter_source("tenant")
    named = source is not None and source.name == "COMMANDLINE"
    carry_out(_verify(server, tenant, every=every, named=named, as_json=as_json))


async def _verify(server: str, tenant: str | None, *, every: bool, named: bool, as_json: bool) -> int:
    if every and named:
        raise Stopped("say --tenant or --all, not both")
    if not every and not tenant:
        raise Stopped("say which tenant: --tenant, DEFTER_TENANT or --all")
    codes: set[Exit] = set()
    async with open_ledger(server) as ledger:
        # `DEFTER_TENANT` may be set for other commands: --all means all.
        names = _tenants(ledger) if every else _only(tenant or "")
        async for name in names:
            codes.add(await _verify_one(ledger, name, goes_on=every, as_json=as_json))
    if not codes:
        return complain(f"{server} has no tenants", Exit.DONE)
    # A difference is told by the exit code even if another tenant could not be verified at all.
    return Exit.FOUND if Exit.FOUND in codes else max(codes, default=Exit.DONE)


async def _tenants(ledger: LedgerClient) -> AsyncIterator[str]:
    async for page in pages(ledger.tenants.list_tenants, tenant_pb2.ListTenantsRequest(), limit=None):
        for tenant in page.tenants:
            yield tenant.tenant_id


async def _only(tenant: str) -> AsyncIterator[str]:
    yield tenant


async def _verify_one(ledger: LedgerClient, tenant: str, *, goes_on: bool, as_json: bool) -> Exit:
    """Verify a tenant and print the result.

    Args:
        goes_on: whether other tenants follow, which a refusal of this one does not stop.
    Raises:
        LedgerError: the tenant could not be verified, and no other one is tried.
    """
    try:
        result = await _verified(ledger, tenant)
    except LedgerError as failure:
        if not goes_on or breaks(failure):
            raise
        return _print_failure(tenant, failure, as_json=as_json)
    out = console()
    if as_json:
        _print_object(out, tenant, result)
    else:
        _print_result(out, tenant, result)
    if not result.HasField("first_difference"):
        return Exit.DONE
    difference = result.first_difference
    verdict = (
        f"{tenant}: DIFFERENCE at record {difference.sequence}: {difference.subject}:"
        f" the journal says {difference.expected}, the database {difference.actual}"
    )
    if not as_json:
        print_line(out, verdict)
        return Exit.FOUND
    return complain(verdict, Exit.FOUND)


def _print_failure(tenant: str, failure: LedgerError, *, as_json: bool) -> Exit:
    if as_json:
        console().print(json.dumps({"tenant_id": tenant, "error": told(failure)}), soft_wrap=True)
    return complain(f"{tenant}: {told(failure)}", exit_of(failure))


def _print_object(out: Console, tenant: str, result: journal_pb2.VerifyResult) -> None:
    """Print a result as one object, by protobuf's own mapping; `first_difference` is absent where none is."""
    fields = MessageToDict(
        result, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    out.print(json.dumps({"tenant_id": tenant, **fields}), soft_wrap=True)


def _print_result(out: Console, tenant: str, result: journal_pb2.VerifyResult) -> None:
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


async def _verified(ledger: LedgerClient, tenant: str) -> journal_pb2.VerifyResult:
    request = journal_pb2.VerifyJournalRequest(tenant_id=tenant)
    result = journal_pb2.VerifyResult()
    async with shown_progress(tenant) as show:
        async for event in ledger.journal.verify_journal(request):
            if event.HasField("result"):
                result = event.result
            else:
                show(event.progress)
    return result


@asynccontextmanager
async def shown_progress(tenant: str) -> AsyncIterator[Callable[[journal_pb2.VerifyProgress], None]]:
    """Show on standard error how far a verification is, by what is passed to the function that is yielded."""
    screen = console(sys.stderr)
    # The bar goes away when it is done, so that an error stands alone; in a file there are lines.
    with Progress(console=screen, transient=True, disable=not _has_bar(screen)) as progress:
        task = progress.add_task(f"verifying {tenant}", total=None)
        async with told_in_lines(screen, tenant) as lines:

            def show(done: journal_pb2.VerifyProgress) -> None:
                lines.progress = done
                progress.update(task, completed=done.sequence, total=done.head_sequence)

            yield show


def _has_bar(screen: Console) -> bool:
    return screen.is_terminal and not screen.is_dumb_terminal


class VerificationLines:
    """What is told of a verification where there is no terminal: at once, and then every few seconds."""

    def __init__(self, screen: Console, tenant: str) -> None:
        self._screen = screen
        self._tenant = tenant
        self._since = time.monotonic()
        self.progress = journal_pb2.VerifyProgress()

    async def tell(self, seconds: float) -> None:
        """Tell until it is cancelled, also while the server has nothing new to say."""
        print_line(self._screen, f"verifying {self._tenant}")
        while True:
            await asyncio.sleep(seconds)
            done = self.progress
            # Before the first word from the server there is no head to compare with.
            of = f" of {done.head_sequence}" if done.head_sequence else ""
            passed = time.monotonic() - self._since
            print_line(
                self._screen,
                f"verifying {self._tenant}: {done.sequence}{of} records checked, {passed:.0f} s",
            )


@asynccontextmanager
async def told_in_lines(
    screen: Console, tenant: str, *, seconds: float = LINE_SECONDS
) -> AsyncIterator[VerificationLines]:
    """Tell a verification's progress in lines for as long as it lasts; on a terminal nothing."""
    lines = VerificationLines(screen, tenant)
    if _has_bar(screen):
        yield lines
        return
    telling = asyncio.create_task(lines.tell(seconds))
    try:
        # So that the first line comes before whatever the server has to say.
        await asyncio.sleep(0)
        yield lines
    finally:
        telling.cancel()
        with suppress(asyncio.CancelledError):
            await telling
