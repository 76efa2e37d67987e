"""Test that a database which may have lost commits begins another epoch and calls nobody by itself."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from defter.payments.v1 import outbound_pb2, payment_pb2

from defter_client import LedgerClient
from ledger_server.domain.history import Witness
from ledger_server.embedded_postgres import EmbeddedPostgres, find_binaries
from ledger_server.store import history_store, migrate
from ledger_server.store.database import AnyConnection
from ledger_server.store.history_watch import HistoryWatch
from ledger_server.store.witness import WitnessKeeper
from tests.support.cashier import Cashier
from tests.support.fake_provider import fake_providers
from tests.support.ledger import Ledger
from tests.support.postgres import Databases, run_sql, running_postgres
from tests.support.requests import transfer
from tests.support.service import ServerProcess, Service, serving
from tests.support.wire import open_channel, refusal

WAIT_SECONDS = 120
LOSE_ONE = """
SET session_replication_role = replica;
DELETE FROM postings p USING tenants t WHERE p.tenant_key = t.tenant_key AND p.sequence = t.sequence;
DELETE FROM journal j USING tenants t WHERE j.tenant_key = t.tenant_key AND j.sequence = t.sequence;
UPDATE tenants t SET sequence = t.sequence - 1, named_sequence = t.sequence - 1, chain_hash = j.chain_hash
FROM journal j
WHERE j.tenant_key = t.tenant_key AND j.sequence = t.sequence - 1;
"""


class Place:
    """A database on a cluster of its own, with a witness beside it."""

    def __init__(self, server: EmbeddedPostgres, folder: Path) -> None:
        self.server = server
        self._folder = server._folder  # a restore puts files back into it
        self.witness = folder / "witness"
        self.name = "defter"

    @property
    def url(self) -> str:
        """The database as it is named now."""
        return Databases(self.server).url_of(self.name)

    @property
    def files(self) -> Path:
        """The files of the cluster."""
        return self._folder / "data"

    def program(self, name: str, *words: str, check: bool = True) -> None:
        """Run one of PostgreSQL's programs; it must succeed, unless it is not checked."""
        folder = find_binaries().folder
        environment = {**os.environ, "LD_LIBRARY_PATH": str(folder.parent / "lib")}
        subprocess.run([folder / name, *words], check=check, env=environment)  # our own words

    def restart(self) -> None:
        """Stop and start the cluster."""
        self.server.stop()
        self.server.start()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Service]:
        """Run a server on it."""
        async with serving(self.url, witness_file=self.witness) as service:
            yield service


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """A migrated database that no server has opened."""
    with running_postgres() as server:
        place = Place(server, tmp_path)
        await asyncio.to_thread(migrate.upgrade, place.url)
        yield place


async def outbound(service: Service) -> outbound_pb2.Outbound:
    """Return whether calls may be made."""
    return (await service.stubs.outbound.GetOutbound(outbound_pb2.GetOutboundRequest())).outbound


async def post(ledger: Ledger, count: int) -> list[str]:
    """Post and return the ids."""
    return [(await ledger.post("house", "ann", 1)).transaction_id for _ in range(count)]


async def test_go_on_in_the_same_history_changes_nothing(place: Place) -> None:
    """Servers and PostgreSQL come and go, crash and are cleaned up; nothing was lost."""
    begun = []
    for happens in (
        lambda: None,
        place.restart,
        lambda: run_sql(place.url, "VACUUM FULL"),
        lambda: run_sql(place.url, "CHECKPOINT"),
        lambda: run_sql(place.url, "VACUUM (FREEZE)"),
    ):
        await asyncio.to_thread(happens)
        async with place.serving() as service:
            found = await outbound(service)
            begun.append(found.epoch)
            assert not found.stopped
            ledger = service.ledger("casino", key_prefix=f"in-{len(begun)}")
            if len(begun) == 1:
                await ledger.create()
                await ledger.open_house()
                await ledger.open("ann")
            assert all(f"_{found.epoch}_" in each for each in await post(ledger, 2))
    assert len(set(begun)) == 1


def copied_within_the_cluster(place: Place) -> Callable[[], str]:
    """Copy the database; return what makes the copy take its place."""
    run_sql(place.url.replace("/defter", "/postgres"), "CREATE DATABASE staging TEMPLATE defter")

    def restore() -> str:
        place.name = "staging"
        return "the database oid was"

    return restore


def dumped(place: Place) -> Callable[[], str]:
    """Dump the database; return what reads the dump into the same database again."""
    file = place.witness.with_name("dump")
    place.program("pg_dump", "--format=custom", f"--file={file}", place.url)

    def restore() -> str:
        place.program("pg_restore", "--clean", "--if-exists", f"--dbname={place.url}", str(file))
        return "its tables were read in from a dump"

    return restore


def dumped_for_another(place: Place) -> Callable[[], str]:
    """Dump the database; return what reads the dump into a new one."""
    file = place.witness.with_name("dump")
    place.program("pg_dump", "--format=custom", f"--file={file}", place.url)

    def restore() -> str:
        run_sql(place.url, "CREATE DATABASE another TEMPLATE template0")
        place.name = "another"
        place.program("pg_restore", f"--dbname={place.url}", str(file))
        return "the database oid was"

    return restore


def files_kept(place: Place) -> Callable[[], str]:
    """Copy the files of the cluster; return what puts them back."""
    kept = place.files.with_name("kept")
    place.server.stop()
    subprocess.run(["cp", "-a", place.files, kept], check=True)  # with their owners
    place.server.start()

    def restore() -> str:
        place.server.stop()
        shutil.rmtree(place.files)
        kept.rename(place.files)
        place.server.start()
        return "record "

    return restore


def files_kept_until_the_log_has_grown(place: Place) -> Callable[[], str]:
    """As `files_kept`, but the log goes on before any server comes; what it had is gone all the same."""
    put_back = files_kept(place)

    def restore() -> str:
        put_back()
        run_sql(place.url, "SELECT pg_switch_wal()")
        run_sql(place.url, "SELECT pg_logical_emit_message(false, 'x', repeat('x', 100000))")
        run_sql(place.url, "CHECKPOINT")
        return "record "

    return restore


def data_dumped(place: Place) -> Callable[[], str]:
    """Dump the data; return what reads it into a new schema."""
    file = place.witness.with_name("dump")
    place.program("pg_dump", "--format=custom", f"--file={file}", place.url)

    def restore() -> str:
        run_sql(place.url, "CREATE DATABASE another TEMPLATE template0")
        place.name = "another"
        migrate.upgrade(place.url)
        words = ("--data-only", "--disable-triggers", f"--dbname={place.url}", str(file))
        # The rows that the migration has made are there already, which is told.
        place.program("pg_restore", *words, check=False)
        return "its records are of epoch "

    return restore


def nothing(place: Place) -> Callable[[], str]:
    """Keep nothing; return what ends a recovery at the end of the log, as the promotion of a standby does."""

    def promote() -> str:
        run_sql(place.url, "ALTER SYSTEM SET restore_command = 'false'")
        place.server.stop()
        signal = place.files / "recovery.signal"
        signal.touch()
        owner = place.files.stat()
        os.chown(signal, owner.st_uid, owner.st_gid)
        place.server.start()
        return "the timeline was 1 and is 2"

    return promote


@pytest.mark.parametrize(
    "kept",
    [copied_within_the_cluster, dumped, dumped_for_another, files_kept, nothing],
    ids=lambda each: each.__name__,
)
async def test_lose_commits_begins_another_epoch_and_stops_calls(
    place: Place, kept: Callable[[Place], Callable[[], str]]
) -> None:
    """No id of the lost records is handed out again, nothing is called, and everything else goes on."""
    async with place.serving() as service:
        before = await outbound(service)
        ledger = await service.new_ledger()
        await ledger.open_house()
        await ledger.open("ann")
        old = await post(ledger, 3)
    restore = await asyncio.to_thread(kept, place)
    async with place.serving() as service:
        lost = await post(service.ledger(key_prefix="lost"), 3)
        await until_seen(lambda: seen_of(WitnessKeeper(place.witness)), place)
    why = await asyncio.to_thread(restore)

    epochs = set()
    for starts in range(2):
        async with place.serving() as service:
            found = await outbound(service)
            assert found.stopped
            assert found.note.startswith(why)
            # A new schema knows of no epoch; the journal does.
            past = [] if kept is data_dumped else [before.epoch]
            assert (found.actor, list(found.past_epochs)) == ("defter", past)
            assert found.HasField("known_until_time")
            epochs.add(found.epoch)
            ledger = service.ledger(key_prefix=f"new-{starts}")
            new = await post(ledger, 3)
            assert all(f"_{found.epoch}_" in each for each in new)
            assert not {*old, *lost} & {*new}
            assert (await ledger.transaction(old[0])).transaction.transaction_id == old[0]
            assert not (await ledger.verify()).HasField("first_difference")
            if kept is not nothing:
                assert (await refusal(ledger.transaction(lost[-1]))).reason == "TRANSACTION_NOT_FOUND"
    [epoch] = epochs
    await resume(place, epoch)


async def resume(place: Place, epoch: str) -> None:
    """Resume in the epoch that was looked at, and in no other."""
    async with place.serving() as service:
        request = outbound_pb2.ResumeOutboundRequest(epoch="0000000a", note="looked", actor="ada")
        refused = await refusal(service.stubs.outbound.ResumeOutbound(request))
        assert (refused.reason, refused.metadata) == ("EPOCH_NOT_CURRENT", {"epoch": epoch})
        request.epoch = epoch
        await service.stubs.outbound.ResumeOutbound(request)
    async with place.serving() as service:
        found = await outbound(service)
        assert (found.stopped, found.epoch, found.note, found.actor) == (False, epoch, "looked", "ada")


async def test_lose_commits_again_before_calls_go_on_asks_for_all_that_was_lost(place: Place) -> None:
    """What was lost first is not forgotten by the next loss, until somebody has answered for it."""
    known_until = []
    async with place.serving() as service:
        ledger = await service.new_ledger()
        await ledger.open_house()
        await ledger.open("ann")
    for again in range(3):
        run_sql(place.url, "UPDATE history SET system_identifier = '1'")  # as of a dump from elsewhere
        async with place.serving() as service:
            found = await outbound(service)
            known_until.append(found.known_until_time.ToJsonString())
            await post(service.ledger(key_prefix=f"after-{again}"), 1)
            if again == 1:
                request = outbound_pb2.ResumeOutboundRequest(
                    epoch=found.epoch, note="looked", actor="ada", allow_unreconciled=True
                )
                await service.stubs.outbound.ResumeOutbound(request)
    assert known_until[0] == known_until[1] < known_until[2]


async def test_serve_while_its_last_commit_is_lost_starts_anew_in_another_epoch(place: Place) -> None:
    """A server that misses a record of its own refuses everything from then on; the next start names it."""
    async with place.serving() as service:
        before = await outbound(service)
        ledger = await service.new_ledger()
        await ledger.open_house()
        await ledger.open("ann")
        await post(ledger, 2)
        run_sql(place.url, LOSE_ONE)
        assert (await refusal(ledger.post("house", "ann", 1))).reason == "STORE_UNAVAILABLE"
        assert service.server.another_history.is_set()
    # It may have died meanwhile: the file knows.
    async with place.serving() as service:
        found = await outbound(service)
        assert (found.stopped, list(found.past_epochs)) == (True, [before.epoch])
        assert found.note.endswith("was committed here and is gone")
        await post(service.ledger(key_prefix="new"), 1)
        assert not (await service.ledger().verify()).HasField("first_difference")


async def test_drain_leaves_a_witness_of_the_last_commit(place: Place) -> None:
    """Who ends cleanly has seen all that it wrote."""
    async with place.serving() as service:
        ledger = await service.new_ledger()
        await ledger.open_house()
        await ledger.open("ann")
        await post(ledger, 3)
        connection = await asyncpg.connect(place.url)
        now = await connection.fetchval("SELECT (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint")
        await connection.close()
        await service.server.drain()
    seen = seen_of(WitnessKeeper(place.witness))
    assert seen is not None
    assert seen.position >= now


async def test_put_back_files_under_running_server_is_noticed_by_its_next_connection(place: Place) -> None:
    """A server that runs on is its own witness, and takes nothing that it knows into the other history."""
    async with serving(place.url) as service:
        ledger = await service.new_ledger()
        await ledger.open_house()
        await ledger.open("ann")
    restore = await asyncio.to_thread(files_kept, place)
    keeper = WitnessKeeper()
    async with serving(place.url, witness=keeper) as service:
        await post(service.ledger(key_prefix="lost"), 5)
        await until_seen(lambda: seen_of(keeper), place)
        await asyncio.to_thread(restore)
        refused = await refusal(service.ledger(key_prefix="new").post("house", "ann", 1))
        assert refused.reason == "STORE_UNAVAILABLE"
        await asyncio.wait_for(service.server.another_history.wait(), WAIT_SECONDS)
    async with serving(place.url, witness=keeper) as service:
        assert (await outbound(service)).note.endswith("was committed and is gone")


def seen_of(keeper: WitnessKeeper) -> Witness | None:
    """Return the one thing that was seen, of whichever database."""
    return keeper._seen or next(iter(keeper._all), None)  # nobody else wants any


async def until_seen(seen: Callable[[], Witness | None], place: Place) -> None:
    """Wait until a server has seen how far the log is now."""
    connection = await asyncpg.connect(place.url)
    now: int = await connection.fetchval("SELECT (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint")
    await connection.close()
    async with asyncio.timeout(WAIT_SECONDS):
        while (found := seen()) is None or found.position < now:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.1)


async def test_lose_commit_while_defter_serves_starts_it_anew_in_its_process(
    place: Place, tmp_path: Path
) -> None:
    """`defter serve` needs nobody to start it again: it goes on by itself, with calls stopped."""
    async with serving(place.url) as service:
        ledger = await service.new_ledger()
        await ledger.open_house()
        await ledger.open("ann")
    process = ServerProcess(place.url, log_file=tmp_path / "log", environment={"DEFTER_LOG_JSON": "true"})
    await process.start()
    try:
        channel = open_channel(process.port)
        await post(Ledger(channel, "casino", key_prefix="lost"), 5)
        run_sql(place.url, LOSE_ONE)
        again = Ledger(channel, "casino", key_prefix="new")
        async with LedgerClient(f"127.0.0.1:{process.port}", timeout_seconds=WAIT_SECONDS) as client:
            request = again.post_request(transfer("house", "ann", 1))
            await client.postings.post_transaction(request)
        found = (await again.stubs.outbound.GetOutbound(outbound_pb2.GetOutboundRequest())).outbound
        assert found.stopped
        await channel.close()
    finally:
        process.terminate()
        await process.wait()


async def test_look_whose_answer_is_overtaken_is_one_history(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that comes behind a later look's is no loss."""
    watch, overtaken = HistoryWatch(WitnessKeeper()), asyncio.Event()
    first, second = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    look = history_store.look

    async def late(connection: AnyConnection) -> history_store.Look | None:
        found = await look(connection)
        if connection is first:
            await overtaken.wait()
        return found

    try:
        await watch.begin(first)
        monkeypatch.setattr(history_store, "look", late)
        looking = asyncio.create_task(watch.connected(first))
        await asyncio.sleep(0)
        await second.execute("SELECT pg_logical_emit_message(false, 'defter', repeat('x', 9000))")
        await second.execute("CHECKPOINT")
        await watch.connected(second)
        overtaken.set()
        await looking
    finally:
        await first.close()
        await second.close()
    assert not watch.changed.is_set()


def test_read_witness_that_is_none_says_so_by_its_setting(tmp_path: Path) -> None:
    """What can't be read is no reason to believe that nothing was lost."""
    (tmp_path / "witness").write_text("{")
    with pytest.raises(ValueError, match=r"^DEFTER_WITNESS_FILE: "):
        WitnessKeeper(tmp_path / "witness")


async def test_stop_and_resume_calls_holds_withdrawals_back(database_url: str) -> None:
    """A withdrawal that is approved meanwhile waits, also for a server that starts, and is called then."""
    stop = outbound_pb2.StopOutboundRequest(note="a rehearsal", actor="ada")
    async with serving(database_url, providers=fake_providers()) as service:
        stopped = await service.stubs.outbound.StopOutbound(stop)
        assert (stopped.outbound.stopped, stopped.outbound.note) == (True, "a rehearsal")
        cashier = Cashier(await service.new_ledger())
        await cashier.captured(5_000)
        withdrawal = await cashier.request(2_000)
        await cashier.approve(withdrawal.withdrawal_id)
    async with serving(database_url, providers=fake_providers()) as service:
        cashier = Cashier(service.ledger(key_prefix="again"))
        found = await cashier.withdrawal(withdrawal.withdrawal_id)
        assert found.call_state == payment_pb2.CALL_STATE_PENDING
        resume = outbound_pb2.ResumeOutboundRequest(note="it is over", actor="bob")
        await service.stubs.outbound.ResumeOutbound(resume)
        await cashier.until_called()
        found = await cashier.withdrawal(withdrawal.withdrawal_id)
        assert found.call_state == payment_pb2.CALL_STATE_ACCEPTED


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (outbound_pb2.StopOutboundRequest(actor="ada"), "note"),
        (outbound_pb2.StopOutboundRequest(note="why"), "actor"),
        (outbound_pb2.StopOutboundRequest(note="w" * 513, actor="ada"), "note"),
        (outbound_pb2.ResumeOutboundRequest(actor="ada"), "note"),
        (outbound_pb2.ResumeOutboundRequest(note="why"), "actor"),
        (outbound_pb2.ResumeOutboundRequest(epoch="k3x9abcd0", note="why", actor="ada"), "epoch"),
    ],
)
async def test_ask_for_calls_with_bad_field_changes_nothing(
    database_url: str,
    request_: outbound_pb2.StopOutboundRequest | outbound_pb2.ResumeOutboundRequest,
    field: str,
) -> None:
    """Each field has its own refusal."""
    async with serving(database_url) as service:
        before = await outbound(service)
        stubs = service.stubs.outbound
        if isinstance(request_, outbound_pb2.ResumeOutboundRequest):
            refused = await refusal(stubs.ResumeOutbound(request_))
        else:
            refused = await refusal(stubs.StopOutbound(request_))
        assert refused.metadata["field"] == field
        assert await outbound(service) == before
