"""Own the databases of a run: filled ones, and copies of them at the revision where an upgrade begins."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg

from ledger_server.embedded_postgres import EmbeddedPostgres, PostgresSettings
from ledger_server.store import migrate
from tests.support.ledger import Ledger
from tests.support.postgres import Databases, run_sql
from tests.support.released import Released, Unpacked, unpack
from tests.support.service import ServerProcess, serving_process
from tests.support.wire import open_channel
from tests.upgrade.filling import TENANT, Filling, Tell

# The first revision whose server can write it, and what it is.
_STAGES: Final = {"0001": Filling.journal, "0002": Filling.payments, "0003": Filling.findings}
# Nobody listens there: what is owed to the provider stays open.
_NO_PSP: Final = """
[providers.mock]
adapter = "mock"
base_address = "http://127.0.0.1:9"
api_key_env = "NO_PSP_KEY"
"""
_COPY: Final = "upgraded"
SHORT_WAIT_SECONDS: Final = 0.1
"""PostgreSQL tells of longer waits for a lock."""
_WAITED: Final = re.compile(r"acquired \w+ on relation \d+ .* after ([0-9.]+) ms")


class Place:
    """A PostgreSQL with filled databases, and a folder for the code of earlier versions and logs."""

    def __init__(
        self, postgres: EmbeddedPostgres, folder: Path, servers: Mapping[str, Released], *, records: int
    ) -> None:
        self.folder = folder
        self._postgres = postgres
        self._databases = Databases(postgres)
        self.servers = servers
        self._records = records
        self._read_count = 0
        self._unpacked: dict[str, Unpacked] = {}
        (folder / "providers.toml").write_text(_NO_PSP)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of servers here."""
        return {"DEFTER_PROVIDERS_FILE": str(self.folder / "providers.toml"), "NO_PSP_KEY": "none"}

    def code_of(self, revision: str) -> Unpacked:
        """Return the code of the server for a revision."""
        commit = self.servers[revision].commit
        if commit not in self._unpacked:
            folder = self.folder / "code" / commit
            self._unpacked[commit] = unpack(self.servers[revision], folder)
        return self._unpacked[commit]

    @asynccontextmanager
    async def serving(self, url: str, revision: str | None, *, log: str) -> AsyncIterator[ServerProcess]:
        """Run the server for a revision, or today's; what is left at the end is told to end."""
        code = None if revision is None else self.code_of(revision)
        options: dict[str, Any] = {} if code is None else {"program": code.program}
        environment = {**self.environment, **(code.environment if code is not None else {})}
        log_file = self.folder / f"{log}.log"
        async with serving_process(url, log_file=log_file, environment=environment, **options) as process:
            yield process
            if process.is_alive:
                process.terminate()
                await process.wait()

    def longest_wait(self) -> float:
        """Return the seconds of the longest wait for a lock on a table since this was asked last; 0 if short.

        Statements of servers wait for each other on rows alone, and for a migration on tables.
        """
        text = "".join(file.read_text() for file in sorted((self.folder / "postgres" / "log").glob("*.log")))
        new, self._read_count = text[self._read_count :], len(text)
        return max((float(each) / 1000 for each in _WAITED.findall(new)), default=0.0)

    @asynccontextmanager
    async def copy(self, revision: str, tell: Tell) -> AsyncIterator[str]:
        """Yield the URL of a filled database at a revision; it is dropped at the end."""
        template = await self._filled(max(stage for stage in _STAGES if stage <= revision), tell)
        await self._make(_COPY, template)
        url = self._databases.url_of(_COPY)
        await asyncio.to_thread(migrate.upgrade, url, revision)
        try:
            yield url
        finally:
            await self._drop(_COPY)

    async def _filled(self, stage: str, tell: Tell) -> str:
        """Return the database that has this stage and those before it, which is filled once."""
        name, unfinished = f"filled_{self._records}_{stage}", "filling"
        if await self._exists(name):
            return name
        before = max((each for each in _STAGES if each < stage), default=None)
        template = "template0" if before is None else await self._filled(before, tell)
        await self._drop(unfinished)
        await self._make(unfinished, template)
        url = self._databases.url_of(unfinished)
        await self._migrate_with_its_code(url, stage)
        async with (
            self.serving(url, stage, log=f"fill-{stage}") as server,
            open_channel(server.port) as channel,
        ):
            ledger = Ledger(channel, TENANT, key_prefix=f"fill-{stage}")
            filling = Filling(ledger, records=self._records, tell=lambda line: tell(f"fill {stage}: {line}"))
            await _STAGES[stage](filling)
            tell(f"fill {stage}: done, {await ledger.head():,} records")
        await self._run(url, "VACUUM (ANALYZE)")
        await self._run(self._postgres.url, f"ALTER DATABASE {unfinished} RENAME TO {name}")
        return name

    async def _migrate_with_its_code(self, url: str, revision: str) -> None:
        code = self.code_of(revision)
        finished = await asyncio.to_thread(
            subprocess.run,
            [*code.program, "migrate"],
            env={**os.environ, **code.environment, "DEFTER_DATABASE_URL": url},
            capture_output=True,
            text=True,
            check=False,
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr

    async def _make(self, name: str, template: str) -> None:
        await self._drop(name)
        await asyncio.to_thread(self._databases.create, name, template=template)

    async def _drop(self, name: str) -> None:
        await self._run(self._postgres.url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    async def _exists(self, name: str) -> bool:
        return bool(await ask(self._postgres.url, "SELECT 1 FROM pg_database WHERE datname = $1", name))

    async def _run(self, url: str, statement: str) -> None:
        await asyncio.to_thread(run_sql, url, statement)


async def ask(url: str, statement: str, *values: object) -> Any:
    """Return the one value that a statement brings."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement, *values)
    finally:
        await connection.close()


@contextmanager
def running_place(folder: Path, servers: Mapping[str, Released], *, records: int) -> Iterator[Place]:
    """Run a PostgreSQL in a folder; filled databases that are there already are used again."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)
    settings = PostgresSettings(
        shared_buffers_mib=1024,
        overrides={"log_lock_waits": "on", "deadlock_timeout": f"{SHORT_WAIT_SECONDS * 1000:.0f}ms"},
    )
    postgres = EmbeddedPostgres(folder / "postgres", settings=settings)
    postgres.start()
    try:
        yield Place(postgres, folder, servers, records=records)
    finally:
        postgres.stop()
