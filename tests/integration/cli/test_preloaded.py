"""Commands whose code was loaded before say and do what the installed `defter` says and does."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.integration.cli.conftest import CommandLine, ended
from tests.support.patience import HANG_SECONDS
from tests.support.service import DEFTER


class Installed(CommandLine):
    """Runs `defter` as it is installed."""

    program = (DEFTER,)


@pytest.mark.parametrize(
    ("words", "tenant"),
    [
        (("findings", "--help"), "casino"),
        (("findings", "list"), ""),
        (("findings", "list", "--state", "köln"), "casino"),
        (("findings", "list", "--json"), "casino"),
        (("certs", "dev"), "casino"),
        (("no such word",), "casino"),
    ],
)
async def test_run_command_says_what_the_installed_one_says(words: tuple[str, ...], tenant: str) -> None:
    """The exit code, the output and the errors are the same."""
    ran, installed = [await line(1).run(*words, DEFTER_TENANT=tenant) for line in (CommandLine, Installed)]
    assert (ran.code, ran.output, ran.errors) == (installed.code, installed.output, installed.errors)


@asynccontextmanager
async def silent_server() -> AsyncIterator[tuple[int, asyncio.Event, asyncio.Event]]:
    """Yield the port of a server that answers nothing, and whether somebody has come and gone."""
    came, gone = asyncio.Event(), asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.set()
        try:
            await reader.read()
        except ConnectionError:
            pass
        finally:
            gone.set()
            writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], came, gone


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_signal_ends_the_command_as_the_installed_one(number: signal.Signals) -> None:
    """Also the one that nobody can pass on."""
    codes = []
    for line in (CommandLine, Installed):
        async with asyncio.timeout(HANG_SECONDS), silent_server() as (port, came, gone):
            process = await line(port).begin("findings", "list")
            await came.wait()
            process.send_signal(number)
            codes.append((await ended(process)).code)
            await gone.wait()
    assert codes[0] == codes[1]
