"""Own the promise that a command starts without the code of other commands, migrations and providers."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ledger_server.cli.start import module_of
from ledger_server.operator.program import WORDS
from ledger_server.store.migrate import migrations
from ledger_server.store.revisions import APPLICATION_ROLE, known_revisions

NOT_BY_SERVERS = (
    "alembic",
    "stripe",
    "Adyen",
    "requests",
    "starlette",
    "uvicorn",
    "mock_psp",
    "limits",
    "defter_client",
    "ledger_server.cli.verbs",
)
NOT_BY_EDGES = (
    "ledger_server.process.bootstrap",
    "ledger_server.operator.program",
    "sqlalchemy",
    "alembic",
    "asyncpg",
    "stripe",
    "mock_psp",
)
NOT_BY_OPERATORS = (
    "ledger_server.store.tables",
    "sqlalchemy",
    "alembic",
    "asyncpg",
    "stripe",
    "Adyen",
    "limits",
)
NOT_FOR_IDENTITIES = (
    "ledger_server.process.bootstrap",
    "ledger_server.store.tables",
    "ledger_server.cli.verbs",
    "sqlalchemy",
    "alembic",
    "asyncpg",
    "httpx",
    "stripe",
)
LOADED = """
import sys
import ledger_server.cli.start
from importlib import import_module
import_module(ledger_server.cli.start.module_of(sys.argv[1]))
print(*sorted(sys.modules), sep="\\n")
"""


@pytest.mark.parametrize(
    ("word", "needed", "unneeded"),
    [
        ("serve", "ledger_server.process.bootstrap", NOT_BY_SERVERS),
        ("edge", "webhook_edge.server", NOT_BY_EDGES),
        ("findings", "ledger_server.operator.findings", NOT_BY_OPERATORS),
        ("certs", "ledger_server.identity.issuing", NOT_FOR_IDENTITIES),
    ],
)
def test_command_loads_nothing_that_it_does_not_need(
    word: str, needed: str, unneeded: tuple[str, ...]
) -> None:
    """Who starts a hundred processes pays for each module a hundred times."""
    ran = subprocess.run([sys.executable, "-c", LOADED, word], capture_output=True, text=True, check=True)
    loaded = set(ran.stdout.split())

    assert needed in loaded
    assert not loaded.intersection(unneeded)


@pytest.mark.parametrize(
    ("word", "module"),
    [
        ("serve", "ledger_server.cli.serving"),
        ("edge", "ledger_server.cli.edge"),
        *((word, "ledger_server.cli.identity") for word in ("certs", "token", "policy")),
        *((word, "ledger_server.operator.program") for word in sorted(WORDS)),
        *((word, "ledger_server.cli.verbs") for word in ("", "up", "migrate", "--help", "no such word")),
    ],
)
def test_first_word_of_a_command_leads_to_its_program(word: str, module: str) -> None:
    """Whatever has no program of its own goes to the one of all commands."""
    assert module_of(word) == module


def test_known_revisions_are_those_of_the_migrations_in_their_order() -> None:
    """A server reads them from the names of the files; the files themselves say the same."""
    _, script = migrations(APPLICATION_ROLE)

    assert known_revisions() == tuple(each.revision for each in script.walk_revisions())[::-1]
