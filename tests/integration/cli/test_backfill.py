"""`defter backfill opening-balances`: files are checked, told about line by line, and posted once."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tests.integration.cli.conftest import CommandLine, Ran
from tests.support.ledger import Ledger
from tests.support.service import Service

HEAD = "player_id,currency,real,bonus\r\n"
ROWS = "ada,EUR,10.05,0.50\r\nbob,EUR,7,0\r\n"
CONTROL = "EUR=17.55"


class Backfill:
    """The command, for one tenant and one file."""

    def __init__(self, ledger: Ledger, service: Service, folder: Path) -> None:
        self.ledger = ledger
        self.folder = folder
        self.report = folder / "refused.jsonl"
        self._cli = CommandLine(service.server.port)

    async def run(self, data: bytes, *words: str, name: str = "legacy.csv", control: str = CONTROL) -> Ran:
        """Import a file."""
        file = self.folder / name
        file.write_bytes(data)
        said = ("--file", str(file), "--import-id", "one", "--report", str(self.report))
        return await self._cli.run(
            *("backfill", "opening-balances", *said, "--control", control, *words),
            DEFTER_TENANT=self.ledger.tenant_id,
        )

    def refused(self) -> list[tuple[int, str]]:
        """Return the lines of the report."""
        said = [json.loads(line) for line in self.report.read_text().splitlines()]
        return [(each["line"], each["reason"]) for each in said]


@pytest.fixture
def backfill(ledger: Ledger, shared_server: Service, tmp_path: Path) -> Backfill:
    """The command for a new tenant."""
    return Backfill(ledger, shared_server, tmp_path)


async def test_windows_file_with_byte_order_mark_is_posted_once(backfill: Backfill) -> None:
    """And told in full; a dry run says the same before, and a second run posts nothing."""
    data = b"\xef\xbb\xbf" + (HEAD + ROWS).encode()
    head = await backfill.ledger.head()

    dry = await backfill.run(data, "--dry-run")
    assert (dry.code, await backfill.ledger.head()) == (0, head)
    assert "to be posted" in dry.output
    done = await backfill.run(gzip.compress(data), "--json", "--as-of", "2026-01-31", name="legacy.csv.gz")
    again = await backfill.run(data, "--json", "--as-of", "2026-01-31")

    assert done.code == again.code == 0
    [posted], [present] = done.json["currencies"], again.json["currencies"]
    assert (posted["post_count"], posted["post_minor"]) == ("2", "1755")
    assert (present["post_count"], present["present_count"]) == ("0", "2")
    assert await backfill.ledger.posted("player:ada:real:EUR") == 1005
    assert await backfill.ledger.posted("player:ada:bonus:EUR") == 50
    assert await backfill.ledger.posted("equity:opening:EUR") == -1755


async def test_lines_that_are_wrong_are_told_whoever_finds_it(backfill: Backfill) -> None:
    """The command by its amounts, the server by what it knows; nothing is posted."""
    head = await backfill.ledger.head()
    rows = "ada,EUR,1,0\r\nbob,EUR,10.005,0\r\nada,EUR,2,0\r\ncy,EUR,-1,0\r\ndee,EUR,1e5,0\r\neve,XXX,1,0\r\n"

    ran = await backfill.run((HEAD + rows).encode())

    assert ran.code == 1
    assert sorted(backfill.refused()) == [
        (2, "OPENING_BALANCE_REPEATED"),
        (3, "AMOUNT_NOT_EXACT"),
        (4, "OPENING_BALANCE_REPEATED"),
        (5, "OPENING_BALANCE_NEGATIVE"),
        (6, "AMOUNT_MALFORMED"),
        (7, "CURRENCY_UNKNOWN"),
    ]
    assert "line 3: AMOUNT_NOT_EXACT" in ran.errors
    assert "6 lines are refused; nothing was posted" in ran.errors
    assert await backfill.ledger.head() == head


async def test_file_that_is_cut_off_posts_nothing(backfill: Backfill) -> None:
    """The line up to which it could be read is told."""
    head = await backfill.ledger.head()

    ran = await backfill.run(gzip.compress((HEAD + ROWS).encode())[:-9])

    assert ran.code == 6
    assert "FILE_TRUNCATED" in ran.errors
    assert "nothing was posted" in ran.errors
    assert await backfill.ledger.head() == head


@pytest.mark.parametrize(
    ("words", "control", "code", "told"),
    [
        ((), "EUR=17.54", 1, "CONTROL_SUM_MISMATCH"),
        ((), "EUR=17.555", 2, "not exact"),
        ((), "EUR", 2, "no amount"),
        (("--tenant", "nobody"), CONTROL, 2, "TENANT_NOT_FOUND"),
    ],
    ids=["wrong", "inexact", "none", "tenant"],
)
async def test_import_that_cannot_be_right_is_refused(
    backfill: Backfill, words: tuple[str, ...], control: str, code: int, told: str
) -> None:
    """In one line, with its exit code."""
    head = await backfill.ledger.head()

    ran = await backfill.run((HEAD + ROWS).encode(), *words, control=control)

    assert (ran.code, told in ran.errors) == (code, True), ran
    assert await backfill.ledger.head() == head
