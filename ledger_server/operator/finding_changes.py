"""Owns manual changes of findings: made once, at the version that was shown, or refused by name."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from defter.reconciliation.v1 import finding_pb2 as pb
from rich.console import Console

from defter_client import Answer, LedgerClient, LedgerError
from ledger_server.operator.connection import Exit, Stopped, open_ledger, told
from ledger_server.operator.finding_names import whole_id
from ledger_server.operator.finding_screen import changed, print_finding, print_sides, short, state_of, who
from ledger_server.operator.money import Money, known_money
from ledger_server.operator.screen import console, print_json, print_line, when

_Changed = pb.AcknowledgeFindingResponse | pb.ResolveFindingResponse | pb.ReopenFindingResponse
Sent = Awaitable[Answer[_Changed]]


class Change(NamedTuple):
    """A change by hand.

    Attributes:
        verb: what is done.
        said: the command line's words beside the finding; the same words make the same request.
        done: whether the latest change of a finding was this very change.
        send: sends it: with the client, the finding's id, the version it is for, and the key.
    """

    verb: str
    said: tuple[str, ...]
    done: Callable[[pb.Finding], bool]
    send: Callable[[LedgerClient, str, int, str], Sent]


async def read_finding(ledger: LedgerClient, tenant: str, finding_id: str) -> pb.GetFindingResponse:
    """Return a finding with its history."""
    request = pb.GetFindingRequest(tenant_id=tenant, finding_id=finding_id)
    return await ledger.findings.get_finding(request)


async def change_finding(
    server: str, tenant: str, name: str, change: Change, *, version: int | None, json: bool
) -> int:
    """Read a finding, show it, and change it as it was shown.

    Raises:
        Stopped: somebody has changed it meanwhile; the text says who, and what.
    """
    out = console()
    async with open_ledger(server) as ledger:
        finding_id = await whole_id(ledger, tenant, name)
        before = (await read_finding(ledger, tenant, finding_id)).finding
        money = await known_money(ledger)
        if version is None and change.done(before):
            # A retry of the same command line, whose first answer was lost, finds its own change.
            return _print_after(out, before, f"version {before.version} says so already", json=json)
        expected = before.version if version is None else version
        if not json:
            print_finding(out, before)
            print_sides(out, before, money)
            print_line(out, "")
        try:
            answer = await change.send(ledger, finding_id, expected, _key(finding_id, expected, change))
        except LedgerError as error:
            if error.reason != "FINDING_VERSION_MISMATCH":
                raise
            text = await _meanwhile(ledger, tenant, finding_id, expected, money)
            raise Stopped("\n".join([told(error), *text])) from None
    after = answer.response.finding
    return _print_after(out, after, changed(before, after, money), json=json)


def _print_after(out: Console, after: pb.Finding, text: str, *, json: bool) -> int:
    if json:
        print_json(out, after)
    else:
        print_line(out, f"{short(after.finding_id)} is {state_of(after)}, version {after.version}: {text}")
    return Exit.DONE


def _key(finding_id: str, version: int, change: Change) -> str:
    """Return the idempotency key of a change: the same words about the same version are the same request."""
    said = hashlib.sha256("\x00".join(change.said).encode()).hexdigest()[:16]
    return f"{change.verb}:{finding_id}:{version}:{said}"


async def _meanwhile(
    ledger: LedgerClient, tenant: str, finding_id: str, expected: int, money: Money
) -> list[str]:
    """Return a line for each change since a version: who changed what."""
    read = await read_finding(ledger, tenant, finding_id)
    lines = []
    known: pb.Finding | None = None
    for version in read.history:
        after = version.finding
        if after.version > expected:
            lines.append(
                f"  version {after.version}, {when(after.update_time)} UTC, by {who(after)}:"
                f" {changed(known, after, money)}"
            )
        known = after
    return [*lines, "  read it again, and decide anew"]
