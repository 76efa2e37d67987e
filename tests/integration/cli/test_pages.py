"""The commands of operators' pages do what the pages say, against a real server, provider and database."""

from __future__ import annotations

import json
import os
import shutil
import string
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from defter.payments.v1 import deposit_pb2

from defter_client import LedgerClient
from ledger_server.embedded_postgres import find_binaries
from ledger_server.providers.mock import MockAdapter
from mock_psp.server import MockPsp
from tests.integration.cli.conftest import LATER_SECONDS, TENANT, TOKEN, WINDOW, CommandLine
from tests.support.clock import FakeClock
from tests.support.pages import ELSEWHERE, INCIDENTS, OPERATIONS, OURS, calls, commands
from tests.support.patience import HANG_SECONDS
from tests.support.postgres import run_sql
from tests.support.providers import CURRENCIES
from tests.support.service import Service, serving
from tests.support.typed_commands import Answer, Typist, typist

PROVIDER: Final = "stripe-eu"
ENDPOINTS: Final = f"""\
[endpoints.stripe-eu]
scheme = "stripe"
tenant = "{TENANT}"
provider = "{PROVIDER}"
secrets = [{{ name = "2026-11", env = "STRIPE_WEBHOOK_SECRET" }}]
"""
LOGIN: Final = "defter_login"
# Commands that tell something by their exit code, with what it is in this test.
TOLD: Final = {
    "outbound status": (1, "an earlier page has stopped calls"),
    "restored": (3, "the same"),
    "events coverage": (1, "no provider has told of anything"),
    "reconcile": (1, "what is listed was not booked yet"),
}


class Desk:
    """Where somebody types what stands on the pages: a folder with files, an environment, a process."""

    def __init__(self, folder: Path, environment: Mapping[str, str], commands_of_ours: Typist) -> None:
        self.folder = folder
        self.environment = environment
        self.ours = commands_of_ours

    async def type(self, page: Path, **names: str) -> dict[str, Answer]:
        """Run a page's commands in order, but for those that no test can run; return answers by command."""
        environment = {**self.environment, **names}
        answers: dict[str, Answer] = {}
        for line in commands(page):
            programs = {call.program for call in calls(line)}
            if programs & ELSEWHERE.keys():
                continue
            if programs <= OURS:
                [call] = calls(line)
                words = [string.Template(word).substitute(environment) for word in call.words]
                answers[line] = await self.ours.type(words)
            else:
                answers[line] = self._shell(line, environment)
        return answers

    def _shell(self, line: str, environment: Mapping[str, str]) -> Answer:
        ran = subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=HANG_SECONDS,
        )
        return Answer(ran.returncode, ran.stdout, ran.stderr)


@pytest.fixture
async def reconciling(database_url: str, clock: FakeClock, psp: MockPsp) -> AsyncIterator[Service]:
    """A real server before the MockPSP, under the name that the pages say, with a tenant."""
    adapter = MockAdapter(
        base_address=psp.url, api_key=TOKEN, currencies=CURRENCIES, timeout_seconds=HANG_SECONDS
    )
    async with serving(database_url, clock=clock, providers={PROVIDER: adapter}) as service:
        await service.new_ledger(TENANT)
        yield service
    await adapter.close()


@pytest.fixture
async def desk(tmp_path: Path, database_url: str, cli: CommandLine) -> AsyncIterator[Desk]:
    """A desk with what the pages take for granted: a key, heads that are published, a policy, an endpoint."""
    environment = {
        **cli.environment,
        "PATH": f"{find_binaries().folder}{os.pathsep}{os.environ['PATH']}",
        "OWNER_URL": database_url,
        "DEFTER_DATABASE_URL": database_url,
    }
    shutil.copy(OPERATIONS / "policy.example.toml", tmp_path / "policy.toml")
    (tmp_path / "endpoints.toml").write_text(ENDPOINTS)
    async with typist(environment, tmp_path) as ours:
        for words in (
            ("head", "key", "head.key", "--name", "ledger.example/defter"),
            ("head", "publish", "--all", "--key", "head.key", "--file", "heads"),
        ):
            answer = await ours.type(words)
            assert answer.code == 0, answer
        yield Desk(tmp_path, environment, ours)


async def lose_webhook(cli: CommandLine, psp: MockPsp, player: str) -> None:
    """Have a deposit of a player captured, of which no webhook tells."""
    payments = psp.state.payments
    made = payments.create(reference=player, amount_minor=1_000, currency="EUR")
    async with LedgerClient(cli.server) as ledger:
        await ledger.deposits.initiate_deposit(
            deposit_pb2.InitiateDepositRequest(
                tenant_id=TENANT,
                idempotency_key=player,
                player_id=player,
                provider=PROVIDER,
                provider_ref=made.id,
                amount_minor=1_000,
                currency_code="EUR",
            ),
        )
    payments.authorize(made.id)
    payments.capture(made.id)


async def test_incident_pages_are_run_from_beginning_to_end(
    cli: CommandLine, desk: Desk, psp: MockPsp, clock: FakeClock
) -> None:
    """Each command is accepted where it stands, and exits as a scheduler or a person expects it to."""
    for name in ("ann", "bob"):
        await lose_webhook(cli, psp, name)
    clock.advance(seconds=LATER_SECONDS)
    await desk.ours.type(["reconcile", "--provider", PROVIDER, *WINDOW])
    ran = await desk.ours.type(["runs", "list", "--json"])
    listed = await desk.ours.type(["findings", "list", "--json"])
    findings = [json.loads(line)["finding_id"] for line in listed.output.splitlines()]
    assert len(findings) == 2, ran

    wrong = {}
    for page in INCIDENTS:
        names = {
            "FINDING": findings[page.name == "lost-webhook.md"],
            "RUN": json.loads(ran.output)["run_id"],
        }
        for line, answer in (await desk.type(page, **names)).items():
            may = {code for words, (code, _) in TOLD.items() if line.startswith(f"defter {words}")}
            if answer.code not in {0, *may}:
                wrong[f"{page.name}: {line}"] = answer

    assert wrong == {}


@pytest.fixture
def login(database_url: str) -> Iterator[str]:
    """A login of servers that is a member of the application's role, with its first password."""
    run_sql(database_url, f"CREATE ROLE {LOGIN} LOGIN PASSWORD 'first' IN ROLE defter_application")
    yield LOGIN
    run_sql(database_url, f"DROP OWNED BY {LOGIN}; DROP ROLE {LOGIN}")


async def test_secrets_are_replaced_beside_a_server_that_goes_on(
    desk: Desk, login: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command of the page is accepted; the server's new connections come with the new password."""
    place = urlsplit(database_url)
    passwords = desk.folder / "pgpass"
    passwords.write_text(f"*:*:*:{login}:first\n")
    passwords.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    for name in ("server.key", "server.pem", "stripe-eu.key"):
        (desk.folder / f"{name}.new").write_text("new")
    url = urlunsplit(place._replace(netloc=f"{login}@{place.hostname}:{place.port}"))

    async with serving(url) as service:
        ledger = service.ledger(TENANT)
        await ledger.open("before")
        answers = await desk.type(OPERATIONS / "secrets.md", NEW_PASSWORD="second")
        run_sql(
            database_url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{login}'"
        )
        await ledger.open("after")

    wrong = {line: answer for line, answer in answers.items() if answer.code}
    assert wrong == {}
    assert passwords.read_text() == f"*:*:*:{login}:second\n"
    assert passwords.stat().st_mode & 0o777 == 0o600
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(url, password="first")
    assert (desk.folder / "stripe-eu.key").read_text() == "new"
