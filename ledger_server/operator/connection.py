"""Owns the connection of commands to a server: address, retries, error lines and exit codes."""

import asyncio
import base64
import getpass
import io
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import grpc
import typer
from google.protobuf.message import Message

from defter_client import LedgerClient, LedgerError, Pager, Proof, ProofUnusable
from defter_retrying.backoff import Tries
from http_process.setting_names import unknown_settings
from ledger_server.operator.screen import console, plain, print_line
from ledger_server.operator.setting_names import COMMAND_SETTINGS, PROOF_SETTINGS

SERVER: Final = "127.0.0.1:50051"
Server = Annotated[str, typer.Option(envvar="DEFTER_SERVER", help="host:port of a running server")]
Tenant = Annotated[str, typer.Option(envvar="DEFTER_TENANT", help="the tenant")]
Json = Annotated[bool, typer.Option("--json", help="print JSON, one object a line")]
Actor = Annotated[
    str | None,
    typer.Option("--as", help="who does it; default: the token's subject, else the user of this machine"),
]

_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 5.0
_LARGEST_PAGE: Final = 1_000
# Codes that gRPC itself gives, without a reason of the ledger, if a server goes away during a call.
_BREAKS: Final = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
    }
)
_Result = TypeVar("_Result")
_Request = TypeVar("_Request", bound=Message)
_Page = TypeVar("_Page", bound=Message)


class Exit(IntEnum):
    """What a command's exit code says; docs/operations/reconciliation.md lists them for operators."""

    DONE = 0
    FOUND = 1
    REFUSED = 2
    PARTIAL = 3
    INTERRUPTED = 4
    UNDER_WAY = 5
    BROKEN_FILE = 6
    UNKNOWN_KEY = 7


class Stopped(Exception):
    """A command can't go on; the text says why."""

    def __init__(self, text: str, code: Exit = Exit.REFUSED) -> None:
        super().__init__(text)
        self.code = code


def open_ledger(server: str) -> LedgerClient:
    """Return a client of a server, with the proof that the environment names; nothing is sent yet.

    Raises:
        Stopped: no server is named, or the proof can't be used.
    """
    if not server:
        raise Stopped("say which server: --server or DEFTER_SERVER")
    files = {field: os.environ.get(name) for field, name in PROOF_SETTINGS.items()}
    try:
        return LedgerClient(
            server, proof=Proof(**{field: Path(file) if file else None for field, file in files.items()})
        )
    except ProofUnusable as error:
        raise Stopped(f"{PROOF_SETTINGS[error.field]}: {error.problem}") from None


def carry_out(
    work: Coroutine[Any, Any, int], *, stopped_by_hand: str = "what the server has begun goes on there"
) -> None:
    """Do a command's work and exit; any error is one line on standard error, never a traceback.

    Args:
        stopped_by_hand: what becomes of the work when a person stops the command.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that can't show a character is no reason to stop in the middle.
            stream.reconfigure(errors="backslashreplace")
    misspelt = [each for each in unknown_settings(os.environ, COMMAND_SETTINGS) if each.meant]
    if misspelt:
        # Otherwise a command might talk to another server than the one that was meant.
        work.close()
        raise typer.Exit(complain("\n".join(map(str, misspelt)), Exit.REFUSED))
    try:
        code: int = asyncio.run(work)
    except Stopped as stopped:
        code = complain(str(stopped), stopped.code)
    except LedgerError as error:
        code = complain(told(error), exit_of(error))
    except OSError as error:
        # A full disk behind standard output, for one; the ledger has nothing to do with it.
        code = complain(f"can't be told: {error}", Exit.INTERRUPTED)
    except KeyboardInterrupt:
        code = complain(f"stopped by hand; {stopped_by_hand}", Exit.INTERRUPTED)
    raise typer.Exit(code)


def complain(text: str, code: Exit) -> Exit:
    """Say what is wrong and return the exit code."""
    for line in text.splitlines():
        print_line(console(sys.stderr), line)
    return code


def told(error: LedgerError) -> str:
    """Return reason, sentence and facts in one line; a report's problems on lines of their own."""
    facts = dict(error.metadata)
    problems = facts.pop("problems", "")
    text = plain(str(error))
    # The sentence of a malformed request names the field already.
    listed = [f"{plain(name)}={plain(fact)}" for name, fact in sorted(facts.items())]
    if untold := [fact for fact in listed if fact not in text]:
        text += f" ({', '.join(untold)})"
    return "\n".join([text, *(f"  {plain(line)}" for line in problems.splitlines())])


def exit_of(error: LedgerError) -> Exit:
    """Return the exit code for a failed call."""
    if error.reason == "RECONCILIATION_UNDER_WAY":
        return Exit.UNDER_WAY
    unanswered = breaks(error) or error.code in {
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
    return Exit.INTERRUPTED if unanswered else Exit.REFUSED


def breaks(error: LedgerError) -> bool:
    """Whether nothing was refused: the server is away or asks for it, and the same call may be made again."""
    return error.retryable or (not error.reason and error.code in _BREAKS)


def tries_for(seconds: float) -> Tries:
    """Return the tries that a command has while nothing comes through."""
    return Tries(seconds, first_seconds=_FIRST_PAUSE_SECONDS, longest_seconds=_LONGEST_PAUSE_SECONDS)


async def tried(call: Callable[[float], Awaitable[_Result]], tries: Tries) -> _Result:
    """Make an idempotent call until it is answered, whatever has become of the connection meanwhile.

    Args:
        call: makes it; it is given how many seconds are left.
    Raises:
        LedgerError: the call was refused, or no server answers in time.
    """
    while True:
        try:
            return await call(tries.left())
        except LedgerError as error:
            if not breaks(error) or not await tries.wait(error.retry_delay_seconds):
                raise


async def pages(
    method: Callable[[_Request], Pager[Any, _Page]], request: _Request, *, limit: int | None
) -> AsyncIterator[_Page]:
    """Read a list page by page, no page longer than what is still wanted.

    Args:
        method: of a client, such as `ledger.accounts.list_accounts`.
        limit: how many items are wanted, at most one page more is read; None: all.
    """
    asked: Any = request
    asked.page_size = _LARGEST_PAGE if limit is None else min(limit + 1, _LARGEST_PAGE)
    async for page in method(asked).pages():
        yield page


def actor_or_user(actor: str | None) -> str:
    """Return who does something: who was named, else the subject of the token, else this machine's user.

    A server that takes tokens knows the subject itself and refuses any other name.

    Raises:
        Stopped: nobody was named, and this machine does not know its user's name.
    """
    if actor:
        return actor
    token_file = os.environ.get(PROOF_SETTINGS["token_file"])
    if token_file and (subject := subject_of(Path(token_file))):
        return subject
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        raise Stopped("this machine does not know who you are: say --as") from None


def subject_of(token_file: Path) -> str:
    """Return what a token says to be its subject; empty if the file has none. The server checks it."""
    try:
        payload = token_file.read_text().split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (OSError, ValueError, IndexError):
        return ""
    subject = claims.get("sub") if isinstance(claims, dict) else None
    return subject if isinstance(subject, str) else ""
