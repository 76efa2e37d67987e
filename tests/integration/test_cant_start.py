"""Own the proof that a command which can't begin says why in a line, and what to look at."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import pytest

NOWHERE = "postgresql://ada:do-not-show@127.0.0.1:9/casino"


async def run(*words: str, **settings: str) -> tuple[int | None, list[str]]:
    """Run a command to its end; return its exit code and what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DEFTER_")}
    with tempfile.TemporaryDirectory() as folder:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "ledger_server",
            *words,
            cwd=folder,
            env={**environment, **settings},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
    return process.returncode, output.decode().splitlines()


@pytest.mark.parametrize("command", ["serve", "migrate", "up"])
async def test_start_without_a_database_names_it_and_not_its_password(command: str) -> None:
    """The place is told; the password, and what else was in some variable, is not."""
    code, lines = await run(command, DEFTER_DATABASE_URL=NOWHERE)
    assert code == 1
    assert lines[-1].startswith("can't start: the database at 127.0.0.1:9 can't be reached: ")
    assert len(lines) <= 3
    assert "do-not-show" not in "\n".join(lines)


@pytest.mark.parametrize("command", ["serve", "migrate"])
async def test_start_with_an_url_that_is_none_says_so(command: str) -> None:
    """The setting is named, and what is wanted of it."""
    code, lines = await run(command, DEFTER_DATABASE_URL="nonsense")
    assert (code, len(lines)) == (2, 1)
    assert lines[0].startswith("DEFTER_DATABASE_URL: want a URL of PostgreSQL")


async def test_migrate_to_an_unknown_revision_says_so(database_url: str) -> None:
    """A revision that there is not is no reason for a traceback."""
    code, lines = await run("migrate", "nonsense", DEFTER_DATABASE_URL=database_url)
    assert (code, len(lines)) == (1, 1)
    assert "nonsense" in lines[0]


@pytest.mark.parametrize("revision", ["0001", "0005"])
async def test_migrate_to_an_older_revision_is_refused(database_url: str, revision: str) -> None:
    """A database that is beyond it is not said to be at it."""
    code, lines = await run("migrate", revision, DEFTER_DATABASE_URL=database_url)
    assert (code, len(lines)) == (1, 1)
    assert lines[0].startswith("can't start: the database is at revision ")
    assert f"which {revision} does not lead to" in lines[0]


async def test_migrate_says_which_revision_the_database_is_at(database_url: str) -> None:
    """The newest one by its number, and not as "head"."""
    code, lines = await run("migrate", DEFTER_DATABASE_URL=database_url)
    assert code == 0
    assert re.fullmatch(r"the database is at \d{4}", lines[-1])


async def test_migrate_without_an_url_names_the_setting() -> None:
    """What is missing is told, and nothing else."""
    code, lines = await run("migrate")
    assert (code, len(lines)) == (2, 1)
    assert lines[0].startswith("DEFTER_DATABASE_URL is not set")


async def test_version_is_told() -> None:
    """Whoever reports a fault can say of what."""
    assert await run("--version") == (0, [f"defter {version('defter')}"])


@pytest.mark.parametrize("what", ["DEFTER_PORT", "DEFTER_METRICS_PORT"])
async def test_serve_on_a_port_that_is_taken_names_it(database_url: str, what: str) -> None:
    """Which of the two ports it was is told."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        settings = {"DEFTER_PORT": "0", what: port}
        code, lines = await run("serve", DEFTER_DATABASE_URL=database_url, **settings)
    assert code == 1
    assert lines[-1].startswith("can't start: ")
    assert f"127.0.0.1:{port}" in lines[-1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEFTER_EXTRA_CURRENCIES", "loud"),
        ("DEFTER_LOG_LEVEL", "loud"),
        ("DEFTER_PORT", "70000"),
    ],
)
async def test_setting_without_meaning_is_named(name: str, value: str) -> None:
    """Settings are read before anything else, and refused by name."""
    code, lines = await run("serve", DEFTER_DATABASE_URL=NOWHERE, **{name: value})
    assert (code, len(lines)) == (2, 1)
    assert name.removeprefix("DEFTER_").lower() in lines[0].lower()


async def test_empty_setting_counts_as_none() -> None:
    """An empty variable, as compose files make them, is not a value."""
    code, lines = await run("serve", DEFTER_DATABASE_URL="", DEFTER_PORT="", DEFTER_LOG_LEVEL="")
    assert (code, len(lines)) == (2, 1)
    assert lines[0].startswith("DEFTER_DATABASE_URL is not set")


async def test_verify_without_a_server_says_so_and_that_it_may_be_tried_again() -> None:
    """It exits as the other commands do where nobody answers, and leaves no bar behind."""
    code, lines = await run("verify", "--tenant", "casino", DEFTER_SERVER="127.0.0.1:9")
    assert (code, lines[0], len(lines)) == (4, "verifying casino", 2)
    assert "127.0.0.1:9" in lines[1]


OTHER_GRPC = """
import sys
from grpc._cython import cygrpc

class AioServer(cygrpc.AioServer):
    async def _request_call(self):
        call = await super()._request_call()
        return call

cygrpc.AioServer = AioServer
from ledger_server.cli.start import main
sys.argv = ["defter", "serve", "--port", "0"]
main()
"""


async def test_serve_on_another_grpc_names_the_setting_and_without_calls_ahead_starts(
    database_url: str,
) -> None:
    """The override is refused where its private method is another one; the stock server needs none."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DEFTER_")}
    environment["DEFTER_DATABASE_URL"] = database_url

    async def start(**settings: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            OTHER_GRPC,
            env={**environment, **settings},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    refused = await start()
    output, _ = await refused.communicate()
    assert refused.returncode == 1, output
    last = output.decode().splitlines()[-1]
    assert last.startswith("can't start: DEFTER_CALLS_AHEAD: ")
    assert "`_request_call`" in last

    stock = await start(DEFTER_CALLS_AHEAD="0")
    assert stock.stdout is not None
    try:
        while b" serving " not in (line := await stock.stdout.readline()):
            assert line, "it ended instead of serving"
    finally:
        stock.terminate()
        await stock.communicate()
    assert stock.returncode == 0


@pytest.mark.parametrize("command", ["serve", "up"])
@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"DEFTER_HOST": "0.0.0.0"}, "DEFTER_HOST"),
        ({"DEFTER_POLICY_FILE": "p"}, "DEFTER_POLICY_FILE"),
        ({"DEFTER_CLIENT_AUTHORITY_FILE": "a"}, "DEFTER_CLIENT_AUTHORITY_FILE"),
        ({"DEFTER_TLS_CERTIFICATE_FILE": "c"}, "DEFTER_TLS_CERTIFICATE_FILE"),
        ({"DEFTER_TLS_CERTIFICATE_FILE": "c", "DEFTER_TLS_KEY_FILE": "k"}, "DEFTER_POLICY_FILE"),
        ({"DEFTER_TOKEN_ISSUER": "i"}, "DEFTER_TOKEN_ISSUER"),
    ],
)
async def test_start_with_security_that_does_nothing_names_the_setting(
    command: str, settings: dict[str, str], named: str
) -> None:
    """Before a database is touched; `tests/unit/identity` has all choices."""
    code, lines = await run(command, DEFTER_DATABASE_URL=NOWHERE, **settings)
    assert (code, len(lines)) == (1, 1)
    assert lines[0].startswith(f"can't start: {named}: ")


async def test_start_with_a_policy_that_is_none_names_its_file(database_url: str, tmp_path: Path) -> None:
    """And what is wrong with it."""
    assert (await run("certs", "dev", str(tmp_path / "certs")))[0] == 0
    (tmp_path / "policy.toml").write_text("[[rule]]\n")
    code, lines = await run(
        "serve",
        DEFTER_DATABASE_URL=database_url,
        DEFTER_TLS_CERTIFICATE_FILE=str(tmp_path / "certs" / "server.pem"),
        DEFTER_TLS_KEY_FILE=str(tmp_path / "certs" / "server.key"),
        DEFTER_CLIENT_AUTHORITY_FILE=str(tmp_path / "certs" / "authority.pem"),
        DEFTER_POLICY_FILE=str(tmp_path / "policy.toml"),
    )
    assert code == 1
    assert lines[-1].startswith(f"can't start: DEFTER_POLICY_FILE: {tmp_path / 'policy.toml'}: ")
