"""Test a backup and its restore to a moment, by the commands that operators read."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from ledger_server.embedded_postgres import find_binaries
from ledger_server.embedded_postgres.account import server_account
from ledger_server.embedded_postgres.processes import read_postmaster
from ledger_server.store import migrate
from tests.failover.pair import until
from tests.integration.cli.conftest import CommandLine
from tests.support.ledger import Ledger
from tests.support.postgres import run_as, run_sql, running_postgres
from tests.support.service import DEFTER, serving
from tools.free_ports import free_port

OPERATIONS: Final = Path(__file__).parents[2] / "docs" / "operations"
TENANT: Final = "casino"
ALTER_ONE_BYTE: Final = """
SET session_replication_role = replica;
UPDATE journal SET record = set_byte(record, 20, get_byte(record, 20) # 1) WHERE sequence = 3
"""


def blocks_of(page: str, count: int) -> list[str]:
    """Return the commands on a page, which has that many blocks."""
    found = re.findall(r"^```sh\n(.*?)^```", (OPERATIONS / page).read_text(), re.DOTALL | re.MULTILINE)
    assert len(found) == count, "each block has its place in the test"
    return found


class Operator:
    """Somebody who types what stands in the documents."""

    def __init__(self, folder: Path, owner_url: str, data: Path) -> None:
        self._account = server_account()
        self._folder = folder
        self._programs = find_binaries().reachable_by(self._account).folder
        places = {name: folder / name.lower() for name in ("ARCHIVE", "BACKUP", "HEADS", "NEW_HEADS")}
        places |= {"DATA": data, "RESTORED": folder / "restored" / "data"}
        self.port = free_port()
        self.words = {name: str(place) for name, place in places.items()}
        self.words |= {"OWNER_URL": owner_url, "PORT": str(self.port)}
        self.words |= {"RESTORED_URL": re.sub(r":\d+/", f":{self.port}/", owner_url)}
        self.words |= {"PRIVATE_KEY": f"{folder}/head.key", "PUBLIC_KEY": f"{folder}/head.key.pub"}
        for place in (folder / "archive", folder / "restored"):
            place.mkdir(mode=0o700)
            self._account.give(place)
        self._account.give(folder)

    @property
    def restored(self) -> Path:
        """The files of the restored cluster."""
        return Path(self.words["RESTORED"])

    def database(self, block: str, **words: str) -> str:
        """Run a block as the account of PostgreSQL; return what it printed.

        Raises:
            AssertionError: a command failed.
        """
        said = {**self.words, **words, "PATH": f"{self._programs}:{os.environ['PATH']}"}
        lines = [f"export {name}='{value}'" for name, value in said.items()]
        script = "\n".join([*lines, "set -e", block])
        ran = run_as(self._account, ["/bin/sh", "-c", script], folder=self._folder)
        assert ran.returncode == 0, (block, ran.stdout, ran.stderr)
        return ran.stdout

    async def ledger(self, block: str, server: str, **words: str) -> subprocess.CompletedProcess[str]:
        """Run a block as somebody with `defter`, against a server."""
        path = f"{DEFTER.parent}:{os.environ['PATH']}"
        environment = os.environ | self.words | words | {"PATH": path, "DEFTER_SERVER": server}

        def run() -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                ["/bin/sh", "-e", "-c", block], capture_output=True, text=True, check=False, env=environment
            )

        return await asyncio.to_thread(run)

    def stop_restored(self) -> None:
        """End the restored cluster, if it runs."""
        postmaster = read_postmaster(self.restored)
        if postmaster is not None:
            os.kill(postmaster.process_id, signal.SIGKILL)  # it is ours, and thrown away


@pytest.fixture
def operator() -> Iterator[Operator]:
    """An operator of a PostgreSQL with a migrated database."""
    with running_postgres() as server:
        migrate.upgrade(server.url)
        folder = server._folder.parent / "operator"
        folder.mkdir(mode=0o711)
        found = Operator(folder, server.url, server._folder / "data")
        # What the embedded PostgreSQL keeps beside its files, others have within them.
        shutil.copy2(server._folder / "defter.conf", folder / "restored" / "defter.conf")
        try:
            yield found
        finally:
            found.stop_restored()


async def archived(operator: Operator) -> None:
    """Wait until everything that is due is in the archive."""
    due = "SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'"
    ask = f'psql -XAtd "$OWNER_URL" -c "{due}"'
    await asyncio.to_thread(until, lambda: operator.database(ask) == "0\n", "nothing is archived")


async def posted_keys(ledger: Ledger) -> list[str]:
    """Return the keys of all postings."""
    records = [entry.record for entry in await ledger.entries()]
    return [each.request.idempotency_key for each in records if each.HasField("transaction_posted")]


async def test_restore_to_a_moment_is_what_the_documents_say(operator: Operator, tmp_path: Path) -> None:
    """Between two postings: exactly the first is there; heads and `defter restored` tell the rest."""
    archive, look, backup, switch, restore = blocks_of("backup.md", 5)
    lost, verify, after, resume, publish = blocks_of("restore.md", 5)
    keys = {"PRIVATE_KEY": str(tmp_path / "head.key"), "PUBLIC_KEY": str(tmp_path / "head.key.pub")}
    early, late, new = (str(tmp_path / name) for name in ("early", "late", "new"))
    await asyncio.to_thread(operator.database, archive)

    async with serving(operator.words["OWNER_URL"]) as service:
        cli = CommandLine(service.server.port)
        made = await cli.run("head", "key", keys["PRIVATE_KEY"], "--name", "ledger.example/defter")
        ledger = await service.new_ledger(TENANT)
        await ledger.open_house()
        await ledger.open("ann")
        await asyncio.to_thread(operator.database, backup)
        await ledger.post("house", "ann", 5, key="first")
        to_early = await operator.ledger(publish, cli.server, **keys, NEW_HEADS=early)
        kept = await ledger.head()
        now = 'psql -XAtd "$OWNER_URL" -c "SELECT clock_timestamp()"'
        moment = (await asyncio.to_thread(operator.database, now)).strip()
        await ledger.post("house", "ann", 7, key="second")
        to_late = await operator.ledger(publish, cli.server, **keys, NEW_HEADS=late)
        await asyncio.to_thread(operator.database, switch)
        await archived(operator)
        told = await asyncio.to_thread(operator.database, look)
    assert (made.code, to_early.returncode, to_late.returncode) == (0, 0, 0), (made, to_early, to_late)
    assert re.search(r"\| +0 \| *\n", told), told  # nothing failed

    await asyncio.to_thread(operator.database, restore, MOMENT=moment)
    url = operator.words["RESTORED_URL"]
    async with serving(url) as service:
        server = CommandLine(service.server.port).server
        ledger = service.ledger(TENANT, key_prefix="after")
        assert await posted_keys(ledger) == ["first"]
        assert await ledger.posted("ann") == 5
        checked = await operator.ledger(verify, server)
        found_early = await operator.ledger(lost, server, **keys, HEADS=early)
        found_late = await operator.ledger(lost, server, **keys, HEADS=late)
        from_the_future = await operator.ledger(
            'defter head check --key "$PUBLIC_KEY" --file "$HEADS"', server, **keys, HEADS=late
        )
        left = await operator.ledger(after, server)
        resumed = await operator.ledger(resume, server)
        published = await operator.ledger(publish, server, **keys, NEW_HEADS=new)
        answered = await operator.ledger(lost, server, **keys, HEADS=new)
        run_sql(url, ALTER_ONE_BYTE)
        altered = await operator.ledger(lost, server, **keys, HEADS=early)
        differs = await operator.ledger(verify, server)

    assert checked.returncode == 0, checked
    assert found_early.returncode == 3, found_early
    assert f"{TENANT}: published up to record {kept} at" in found_early.stdout
    assert f"what was written after record {kept}, in the history before, may be lost" in found_early.stdout
    assert "defter outbound resume --epoch" in found_early.stdout
    assert found_late.returncode == from_the_future.returncode == 1, (found_late, from_the_future)
    assert f"{TENANT}: LOST: published up to record {kept + 1} at" in found_late.stdout
    assert f"{TENANT}: BROKEN at record {kept + 1} (line 1): the record is missing" in from_the_future.stderr
    assert (left.returncode, resumed.returncode) == (0, 0), (left, resumed)
    assert "what may have been lost was answered for" in resumed.stdout
    assert (published.returncode, answered.returncode) == (0, 0), (published, answered)
    assert altered.returncode == 1, altered
    assert "record 3: the record was altered" in altered.stdout
    assert differs.returncode == 1, differs
