"""Owns `defter head`: heads of journals are signed and handed out, and journals compared with them later."""

import asyncio
import shlex
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer
from defter.ledger.v1 import journal_pb2, tenant_pb2
from defter.ledger.v1.tenant_pb2 import Tenant

from defter_client import LedgerClient, LedgerError
from ledger_server.operator import head_files
from ledger_server.operator.connection import (
    SERVER,
    Exit,
    Json,
    Server,
    Stopped,
    breaks,
    carry_out,
    complain,
    exit_of,
    open_ledger,
    pages,
    told,
)
from ledger_server.operator.head_chain import ChainBreak, ChainWalk
from ledger_server.operator.head_form import (
    FileBroken,
    FiledHead,
    PublishedHead,
    SignerUnknown,
    check_signatures,
    contradiction,
    read_heads,
)
from ledger_server.operator.head_screen import print_checked, print_failure
from ledger_server.operator.screen import console, print_line
from ledger_server.operator.verify import shown_progress
from signed_notes.notes import KeyMalformed, SignerKey, VerifierKey

app = typer.Typer(no_args_is_help=True, help="Publish signed heads of journals, and check journals by them.")

_COMMAND_SECONDS: Final = 60.0
_Tenants = Annotated[list[str] | None, typer.Option("--tenant", help="the tenant; several are allowed")]


@app.callback()
def group() -> None:
    """Publish signed heads of journals, and check journals by them."""


@app.command("key")
def make_key(
    file: Annotated[
        Path, typer.Argument(help="where the private key is written; FILE.pub gets the public one")
    ],
    *,
    name: Annotated[str, typer.Option(help="of the publisher, such as ledger.example/defter")],
) -> None:
    """Make a key pair for heads. Nothing is overwritten; the public key is printed too."""

    async def work() -> int:
        try:
            key = SignerKey.new(name)
        except KeyMalformed as error:
            raise Stopped(f"--name: {error}") from None
        public = file.with_name(f"{file.name}.pub")
        head_files.write_pair(
            (file, f"{key.private_text()}\n".encode()), (public, f"{key.verifier}\n".encode())
        )
        print_line(console(), str(key.verifier))
        return Exit.DONE

    carry_out(work())


@app.command("publish")
def publish(
    *,
    key: Annotated[Path, typer.Option(help="the private key, as `defter head key` writes it")],
    tenant: _Tenants = None,
    every: Annotated[bool, typer.Option("--all", help="every tenant that the caller may see")] = False,
    file: Annotated[Path | None, typer.Option(help="to which the heads are added, all or none")] = None,
    command: Annotated[
        str | None, typer.Option(help="which gets the heads on its standard input, all or none")
    ] = None,
    server: Server = SERVER,
) -> None:
    """Sign the newest record of each tenant; without --file or --command the heads are printed.

    Exit codes: 0 published; 1 a tenant's journal is behind what the file has of it, and is left out; 2 wrong
    usage or refused; 4 no server answers, or the command failed; 5 another one is at work on the file; 6 the
    file has something else than heads.
    """
    carry_out(_publish(server, key, tenant or [], every=every, file=file, command=command))


async def _publish(
    server: str, key: Path, tenants: Sequence[str], *, every: bool, file: Path | None, command: str | None
) -> int:
    if every == bool(tenants):
        raise Stopped("say which tenants: --tenant or --all")
    if file is not None and command is not None:
        raise Stopped("say --file or --command, not both")
    words = _words(command)
    signer = _signer(key)
    # The lock comes before the heads are read: whoever has it next reads heads that are no older.
    with nullcontext() if file is None else head_files.alone_with(file):
        before = b"" if file is None else head_files.read_if_there(file)
        published = _heads_of(file, before)
        async with open_ledger(server) as ledger:
            heads = [_head(signer, each) async for each in _tenants(ledger, tenants)]
        if not heads:
            raise Stopped(f"{server} has no tenant that this caller may see")
        lost = {head: problem for head in heads if (problem := contradiction(published, head))}
        content = "".join(str(signer.sign(head.text)) for head in heads if head not in lost)
        if file is not None:
            head_files.replace(file, before + content.encode())
        elif words:
            await _hand_to(words, content.encode())
        else:
            typer.echo(content, nl=False)
    if file is not None or words:
        print_line(console(), f"{len(heads) - len(lost)} heads published")
    for head, problem in lost.items():
        complain(f"{head.tenant_id}: not published: {problem}", Exit.FOUND)
    return Exit.FOUND if lost else Exit.DONE


def _words(command: str | None) -> list[str]:
    """Return the words of a command line, as a shell would split it; none without a command."""
    if command is None:
        return []
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise Stopped(f"--command: {error}") from None
    if not words:
        raise Stopped("--command: it is empty")
    return words


def _signer(file: Path) -> SignerKey:
    try:
        return SignerKey.parse(head_files.read(file).decode().removesuffix("\n"))
    except (KeyMalformed, UnicodeDecodeError) as error:
        raise Stopped(f"{file}: {_told_key(error)}") from None


def _verifier(file: Path) -> VerifierKey:
    try:
        return VerifierKey.parse(head_files.read(file).decode().removesuffix("\n"))
    except (KeyMalformed, UnicodeDecodeError) as error:
        raise Stopped(f"{file}: {_told_key(error)}") from None


def _told_key(error: Exception) -> str:
    """Return what is wrong with a key; an error of decoding would repeat bytes of it."""
    return str(error) if isinstance(error, KeyMalformed) else "not UTF-8"


def _heads_of(file: Path | None, content: bytes) -> list[FiledHead]:
    try:
        return read_heads(content)
    except FileBroken as error:
        raise Stopped(f"{file}: {error}", Exit.BROKEN_FILE) from None


async def _tenants(ledger: LedgerClient, names: Sequence[str]) -> AsyncIterator[Tenant]:
    """Yield the tenants of these names, all that can be seen where there are none."""
    for name in dict.fromkeys(names):
        request = tenant_pb2.GetTenantRequest(tenant_id=name)
        yield (await ledger.tenants.get_tenant(request)).tenant
    if not names:
        everyone = tenant_pb2.ListTenantsRequest()
        async for page in pages(ledger.tenants.list_tenants, everyone, limit=None):
            for tenant in page.tenants:
                yield tenant


def _head(signer: SignerKey, tenant: Tenant) -> PublishedHead:
    return PublishedHead(
        key_name=signer.verifier.key.name,
        tenant_id=tenant.tenant_id,
        sequence=tenant.head_sequence,
        chain_hash=tenant.head_chain_hash,
        epoch=tenant.head_epoch,
        time=datetime.now(UTC).replace(microsecond=0),
    )


async def _hand_to(words: Sequence[str], content: bytes) -> None:
    """Run a command with the heads on its standard input. Raises Stopped: it failed."""
    try:
        process = await asyncio.create_subprocess_exec(*words, stdin=asyncio.subprocess.PIPE)
    except OSError as error:
        raise Stopped(f"{words[0]}: {error.strerror or error}") from None
    try:
        async with asyncio.timeout(_COMMAND_SECONDS):
            await process.communicate(content)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise Stopped(
            f"{words[0]} was ended after {_COMMAND_SECONDS:.0f} s: it may have kept the heads or not",
            Exit.INTERRUPTED,
        ) from None
    if process.returncode:
        raise Stopped(
            f"{words[0]} exited with {process.returncode}: it may have kept the heads or not",
            Exit.INTERRUPTED,
        )


@app.command("check")
def check(
    *,
    file: Annotated[Path, typer.Option(help="the published heads")],
    key: Annotated[list[Path], typer.Option(help="the publisher's public key; several are allowed")],
    tenant: _Tenants = None,
    json: Json = False,
    server: Server = SERVER,
) -> None:
    """Prove that today's journals extend published heads, from their first records on.

    Exit codes: 0 they do; 1 one does not; 2 wrong usage or refused; 4 no server answers; 6 the file has
    something else than heads, or a signature is wrong; 7 a head is signed by another key.
    """
    carry_out(_check(server, file, key, tenant or [], json=json))


async def _check(server: str, file: Path, keys: Sequence[Path], tenants: Sequence[str], *, json: bool) -> int:
    heads = verified_heads(file, keys)
    of = {name: [each for each in heads if each.head.tenant_id == name] for name in tenants}
    if unheard := [name for name, theirs in of.items() if not theirs]:
        raise Stopped(f"{file}: there is no head of {', '.join(unheard)} in it")
    if not of:
        for each in heads:
            of.setdefault(each.head.tenant_id, []).append(each)
    codes: set[Exit] = set()
    async with open_ledger(server) as ledger:
        for name, theirs in of.items():
            try:
                codes.add(await _check_one(ledger, name, theirs, json=json))
            except LedgerError as failure:
                if breaks(failure):
                    raise
                print_failure(name, told(failure), as_json=json)
                codes.add(exit_of(failure))
    # A journal that is another one is told by the exit code even if another tenant could not be checked.
    return Exit.FOUND if Exit.FOUND in codes else max(codes)


def verified_heads(file: Path, keys: Sequence[Path]) -> list[FiledHead]:
    """Return the heads in a file, one or more, each signed by one of the public keys.

    Raises:
        Stopped: a file can't be read, has something else than heads, or a head is signed by none of them.
    """
    verifiers = [_verifier(each) for each in keys]
    heads = _heads_of(file, head_files.read(file))
    try:
        check_signatures(heads, verifiers)
    except FileBroken as error:
        raise Stopped(f"{file}: {error}", Exit.BROKEN_FILE) from None
    except SignerUnknown as error:
        raise Stopped(f"{file}: {error}", Exit.UNKNOWN_KEY) from None
    if not heads:
        raise Stopped(f"{file}: there is no head in it", Exit.BROKEN_FILE)
    return heads


async def _check_one(ledger: LedgerClient, tenant_id: str, heads: Sequence[FiledHead], *, json: bool) -> Exit:
    """Walk through a tenant's journal and print what came of it. Raises LedgerError: it can't be read."""
    walk = ChainWalk(tenant_id, heads)
    broken = await walked(ledger, tenant_id, walk)
    print_checked(tenant_id, heads, walk, broken, as_json=json)
    return Exit.DONE if broken is None else Exit.FOUND


async def walked(ledger: LedgerClient, tenant_id: str, walk: ChainWalk) -> ChainBreak | None:
    """Walk through a tenant's journal; return where it does not extend a head. Raises LedgerError."""
    # The heads were published before, so what the tenant has now has to reach them.
    try:
        request = tenant_pb2.GetTenantRequest(tenant_id=tenant_id)
        tenant = (await ledger.tenants.get_tenant(request)).tenant
    except LedgerError as error:
        if error.reason != "TENANT_NOT_FOUND":
            raise
        return walk.no_tenant()
    async with shown_progress(tenant_id) as tell, aclosing(_entries(ledger, tenant_id)) as entries:
        async for entry in entries:
            if walk.sequence == tenant.head_sequence:
                break
            if broken := walk.take(entry):
                return broken
            tell(journal_pb2.VerifyProgress(sequence=walk.sequence, head_sequence=tenant.head_sequence))
    return walk.end(tenant)


async def _entries(ledger: LedgerClient, tenant_id: str) -> AsyncGenerator[journal_pb2.JournalEntry, None]:
    request = journal_pb2.ListJournalRequest(tenant_id=tenant_id, bytes_only=True)
    async for page in pages(ledger.journal.list_journal, request, limit=None):
        for entry in page.entries:
            yield entry
