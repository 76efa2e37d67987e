"""Own the tests of the embedded PostgreSQL: its life, its death and its refusals."""

import asyncio
import os
import secrets
import shutil
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from ledger_server.embedded_postgres import (
    BinariesNotFound,
    EmbeddedPostgres,
    FolderInUse,
    FolderUnreachable,
    PostgresBinaries,
    PostgresSettings,
    ServerFailed,
    default_data_directory,
    find_binaries,
)
from ledger_server.embedded_postgres.account import ServerAccount, server_account
from tests.support.postgres import memory_folder
from tests.support.tools import postgres15_binaries, require

SMALL = PostgresSettings(shared_buffers_mib=16, max_connections=10, start_timeout_seconds=60)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs it as another account")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a name for a data folder that every account can reach, and remove it at the end.

    pytest's own temporary folders are closed to other accounts, and root's server is another.
    """
    # In memory, where there is room: making a cluster waits for the disk, and no test here cuts the power.
    path = (memory_folder() or Path(tempfile.gettempdir())) / f"defter-test-{secrets.token_hex(6)}"
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def server(folder: Path) -> Iterator[EmbeddedPostgres]:
    """Give a server that has not started, and stop it at the end."""
    instance = EmbeddedPostgres(folder, settings=SMALL)
    yield instance
    instance.stop()


async def query(url: str, statement: str) -> object:
    """Run one statement on a connection of its own; return the first value of its result."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_start_in_new_folder_answers_queries(server: EmbeddedPostgres) -> None:
    """A new folder becomes a running PostgreSQL 18 with the database that the URL names."""
    url = server.start()

    assert server.is_running
    assert urlsplit(url).hostname == "127.0.0.1"
    assert await query(url, "SELECT current_database()") == "defter"
    assert str(await query(url, "SHOW server_version")).startswith("18.")
    assert await query(url, "SHOW server_encoding") == "UTF8"
    assert await query(url, "SHOW data_checksums") == "on"
    assert await query(url, "SELECT datcollate FROM pg_database WHERE datname = 'defter'") == "C"


async def test_start_leaves_durability_untouched(server: EmbeddedPostgres) -> None:
    """A commit that was answered is on the disk."""
    url = server.start()

    for setting in ("fsync", "synchronous_commit", "full_page_writes", "restart_after_crash"):
        assert await query(url, f"SHOW {setting}") == "on", setting


async def test_start_with_overrides_uses_them(folder: Path) -> None:
    """A caller's own setting wins over ours, whatever characters it holds."""
    settings = PostgresSettings(shared_buffers_mib=16, overrides={"application_name": "it's", "jit": "on"})
    with EmbeddedPostgres(folder, settings=settings) as server:
        assert await query(server.url, "SHOW jit") == "on"
        assert "application_name = 'it''s'" in (folder / "defter.conf").read_text(encoding="utf-8")


async def test_start_after_stop_keeps_port_password_and_data(server: EmbeddedPostgres) -> None:
    """A restart is invisible to whoever kept the URL."""
    first = server.start()
    await query(first, "CREATE TABLE kept AS SELECT 42 AS answer")
    server.stop()
    assert not server.is_running

    second = server.start()

    assert second == first
    assert await query(second, "SELECT answer FROM kept") == 42


async def test_start_twice_is_start_once(server: EmbeddedPostgres) -> None:
    """Starting a started server neither restarts it nor refuses."""
    url = server.start()
    started = await query(url, "SELECT pg_postmaster_start_time()")

    assert server.start() == url
    assert await query(url, "SELECT pg_postmaster_start_time()") == started


async def test_start_after_kill_recovers_what_was_committed(server: EmbeddedPostgres) -> None:
    """A crash of every process loses nothing that was answered."""
    url = server.start()
    await query(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    server.kill()
    assert not server.is_running

    assert server.start() == url
    assert await query(url, "SELECT answer FROM kept") == 42


async def test_start_after_launcher_died_takes_the_server_over(
    server: EmbeddedPostgres, folder: Path
) -> None:
    """A server whose launcher was killed is restarted by the next one, with its data."""
    program = (
        "import os, pathlib, sys\n"
        "from ledger_server.embedded_postgres import EmbeddedPostgres\n"
        "EmbeddedPostgres(pathlib.Path(sys.argv[1])).start()\n"
        "os._exit(0)\n"
    )
    launcher = await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(folder))
    assert await launcher.wait() == 0
    assert server.is_running

    url = server.start()

    assert await query(url, "SHOW max_connections") == str(SMALL.max_connections)


async def test_start_by_second_launcher_is_refused(server: EmbeddedPostgres, folder: Path) -> None:
    """Two launchers never run one folder, and the first one's server is not disturbed."""
    url = server.start()

    with pytest.raises(FolderInUse, match=str(os.getpid())):
        EmbeddedPostgres(folder, settings=SMALL).start()

    assert await query(url, "SELECT 1") == 1


async def test_start_by_second_launcher_reuses_when_asked(server: EmbeddedPostgres, folder: Path) -> None:
    """A second launcher may use the first one's server, and leaves it running."""
    url = server.start()
    guest = EmbeddedPostgres(folder, settings=SMALL)

    assert guest.start(reuse_running=True) == url
    with pytest.raises(FolderInUse):
        guest.kill()
    guest.stop()

    assert await query(url, "SELECT 1") == 1


async def test_start_with_stale_process_file_recovers(server: EmbeddedPostgres, folder: Path) -> None:
    """A process id that somebody else has by now does not keep the server down."""
    url = server.start()
    process_file = folder / "data" / "postmaster.pid"
    lines = process_file.read_text(encoding="utf-8").splitlines(keepends=True)
    server.kill()
    process_file.write_text("".join([f"{os.getpid()}\n", *lines[1:]]), encoding="utf-8")

    assert not server.is_running
    assert server.start() == url


async def test_start_with_port_taken_moves_to_another(server: EmbeddedPostgres) -> None:
    """A kept port that somebody else took in the meantime is given up."""
    first = server.start()
    server.stop()
    with socket.create_server(("127.0.0.1", urlsplit(first).port or 0)):
        second = server.start()

        assert urlsplit(second).port != urlsplit(first).port
        assert await query(second, "SELECT 1") == 1


def test_start_with_fixed_port_taken_fails_with_the_log(folder: Path) -> None:
    """A port that was asked for is not exchanged; the error shows what PostgreSQL said."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings = PostgresSettings(port=listener.getsockname()[1], shared_buffers_mib=16)

        with pytest.raises(ServerFailed, match="could not bind"):
            EmbeddedPostgres(folder, settings=settings).start()


def test_start_with_refused_setting_fails_and_frees_the_folder(folder: Path) -> None:
    """A failed start says why and gives the folder back, so that a corrected start succeeds."""
    wrong = PostgresSettings(shared_buffers_mib=16, overrides={"max_wal_size": "much"})
    with pytest.raises(ServerFailed, match="max_wal_size"):
        EmbeddedPostgres(folder, settings=wrong).start()

    with EmbeddedPostgres(folder, settings=SMALL) as server:
        assert server.is_running


def test_start_with_half_made_cluster_makes_it_anew(server: EmbeddedPostgres, folder: Path) -> None:
    """A crash while the cluster was being made leaves nothing that the next start stumbles over."""
    (folder / "data.partial" / "base").mkdir(parents=True)
    folder.chmod(0o711)

    server.start()

    assert not (folder / "data.partial").exists()


async def test_password_is_secret_and_required(server: EmbeddedPostgres, folder: Path) -> None:
    """Only the launcher's account can read the password, and nobody gets in without it."""
    url = server.start()

    assert stat.S_IMODE((folder / "password").stat().st_mode) == 0o600
    assert str(urlsplit(url).password) not in (folder / "defter.conf").read_text(encoding="utf-8")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await query(url.replace(f":{urlsplit(url).password}@", ":wrong@"), "SELECT 1")


async def test_start_with_postgres15_binaries_works(folder: Path) -> None:
    """Any supported PostgreSQL serves, the oldest one included."""
    binaries = PostgresBinaries(require(postgres15_binaries))
    with EmbeddedPostgres(folder, binaries=binaries, settings=SMALL) as server:
        assert str(await query(server.url, "SHOW server_version")).startswith("15.")

    with pytest.raises(ServerFailed, match="made by PostgreSQL 15"):
        EmbeddedPostgres(folder, settings=SMALL).start()


def test_start_without_binaries_says_where_it_looked(folder: Path, tmp_path: Path) -> None:
    """A folder without PostgreSQL is named in the error."""
    with pytest.raises(BinariesNotFound, match=str(tmp_path)):
        EmbeddedPostgres(folder, binaries=PostgresBinaries(tmp_path), settings=SMALL).start()


@as_root
def test_start_as_root_in_closed_folder_names_the_folder(folder: Path) -> None:
    """Root learns which folder keeps `nobody` out; its permissions are not touched."""
    folder.mkdir(mode=0o700)

    with pytest.raises(FolderUnreachable, match=f"cannot enter {folder}"):
        EmbeddedPostgres(folder / "inside", settings=SMALL).start()

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not any(folder.iterdir())


@as_root
def test_start_as_root_with_closed_binaries_runs_a_copy(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Binaries in a folder that `nobody` cannot enter are copied to where it can, once."""
    found = find_binaries()
    base = Path(os.path.commonpath([found.folder, *found.libraries]))
    closed = folder / "closed"
    for part in (found.folder.parent, *found.libraries):
        shutil.copytree(part, closed / part.relative_to(base))
    closed.chmod(0o700)
    folder.chmod(0o755)
    cache = folder / "cache"
    monkeypatch.setattr("ledger_server.embedded_postgres.binaries.SYSTEM_CACHE", cache)
    binaries = PostgresBinaries(
        closed / found.folder.relative_to(base),
        tuple(closed / library.relative_to(base) for library in found.libraries),
    )
    assert binaries.reachable_by(server_account()) == binaries.reachable_by(server_account())
    with EmbeddedPostgres(folder / "server", binaries=binaries, settings=SMALL) as server:
        assert server.is_running
    assert len(list(cache.iterdir())) == 1


@as_root
def test_default_data_directory_as_root_in_closed_folder_is_elsewhere(folder: Path) -> None:
    """Each working folder has a data folder of its own, in itself where that can be reached."""
    for path in (folder / "open", folder / "closed", folder / "closed too"):
        path.mkdir(parents=True)
    folder.chmod(0o755)
    for name in ("closed", "closed too"):
        (folder / name).chmod(0o700)

    found = {path.name: default_data_directory(path) for path in folder.iterdir()}

    assert found["open"] == folder / "open" / ".defter" / "postgres"
    assert found["closed"].is_relative_to("/var/lib/defter")
    assert found["closed"] != found["closed too"]


def test_server_environment_carries_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the ledger keeps in its environment is not handed to PostgreSQL's account."""
    monkeypatch.setenv("DEFTER_SECRET", "s3cret")
    monkeypatch.setenv("PGPORT", "1")
    account: ServerAccount = server_account()

    environment = account.run(["env"], folder=Path("/")).stdout

    assert "s3cret" not in environment
    assert "PGPORT" not in environment
