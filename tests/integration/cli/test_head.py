"""`defter head` against a real server: heads are published, and journals compared with them later."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from defter.ledger.v1 import journal_pb2

from ledger_server.operator.head_form import read_heads
from signed_notes.notes import VerifierKey
from tests.integration.cli.conftest import TENANT, CommandLine, Ran
from tests.integration.test_restores import LOSE_ONE
from tests.support.ledger import Ledger
from tests.support.postgres import alter, run_sql
from tests.support.service import Service

NAME = "ledger.example/defter"
# As after a restore of a dump: what the row says of the database is not what the database is.
RESTORED = "UPDATE history SET system_identifier = '1', epoch = 'k3x9abcd'"
UNLOCKED = "SET session_replication_role = replica;"
OF_TENANT = f"tenant_key = (SELECT tenant_key FROM tenants WHERE tenant_id = '{TENANT}')"
KEEP = "CREATE TABLE kept_journal AS TABLE journal"
CHAINED_ANEW = (
    "UPDATE journal j SET chain_hash = sha256(before.chain_hash || j.record) FROM journal before"
    f" WHERE j.sequence = {{0}} AND j.{OF_TENANT}"
    " AND before.tenant_key = j.tenant_key AND before.sequence = {0} - 1"
)
PUT_BACK = f"{UNLOCKED} DELETE FROM journal; INSERT INTO journal SELECT * FROM kept_journal"


class Heads:
    """A key, and a file of heads, with the commands on them."""

    def __init__(self, cli: CommandLine, folder: Path) -> None:
        self.cli = cli
        self.key = folder / "head.key"
        self.public = folder / "head.key.pub"
        self.file = folder / "heads"

    async def publish(self, *words: str) -> Ran:
        """Publish to the file."""
        return await self.cli.run("head", "publish", "--key", str(self.key), "--file", str(self.file), *words)

    async def check(self, *words: str) -> Ran:
        """Check the file."""
        return await self.cli.run(
            "head", "check", "--key", str(self.public), "--file", str(self.file), *words
        )


@pytest.fixture
async def heads(cli: CommandLine, tmp_path: Path) -> Heads:
    """A new key, and no head yet."""
    made = await cli.run("head", "key", str(tmp_path / "head.key"), "--name", NAME)
    assert made.code == 0, made
    return Heads(cli, tmp_path)


async def lived_in(service: Service) -> Ledger:
    """Return the tenant, in which something has happened."""
    ledger = service.ledger(TENANT)
    await ledger.open_house()
    await ledger.open("ann")
    await ledger.fund("ann", 10)
    return ledger


async def test_key_is_made_for_its_owner_alone_and_over_no_other(cli: CommandLine, heads: Heads) -> None:
    """Neither file is touched once it is there."""
    before = heads.key.read_bytes(), heads.public.read_bytes()
    assert heads.key.stat().st_mode & 0o777 == 0o600
    assert VerifierKey.parse(before[1].decode().strip()).key.name == NAME

    again = await cli.run("head", "key", str(heads.key), "--name", NAME)
    heads.key.unlink()
    half = await cli.run("head", "key", str(heads.key), "--name", NAME)

    assert (again.code, half.code) == (2, 2)
    assert "head.key: File exists" in again.errors
    assert "head.key.pub: File exists" in half.errors
    assert not heads.key.exists()
    assert heads.public.read_bytes() == before[1]


async def test_journal_that_went_on_extends_what_was_published(reconciling: Service, heads: Heads) -> None:
    """Every tenant, every head in the file; what is published is the head that the server tells."""
    ledger = await lived_in(reconciling)
    await reconciling.new_ledger("zeta")
    first = await heads.publish("--all")
    await ledger.fund("ann", 5)
    second = await heads.publish("--tenant", TENANT)
    tenant = await ledger.tenant()
    await ledger.fund("ann", 5)

    checked = await heads.check("--json")
    of_one = await heads.check("--tenant", TENANT)

    assert (first.code, first.output) == (0, "2 heads published\n"), first
    assert (second.code, second.output) == (0, "1 heads published\n"), second
    filed = [each.head for each in read_heads(heads.file.read_bytes())]
    assert [each.tenant_id for each in filed] == [TENANT, "zeta", TENANT]
    assert (filed[2].sequence, filed[2].chain_hash) == (tenant.head_sequence, tenant.head_chain_hash)
    assert checked.code == 0, checked
    assert [(each["tenant_id"], each["held_count"], each["broken"]) for each in checked.lines] == [
        (TENANT, 2, None),
        ("zeta", 1, None),
    ]
    assert checked.lines[0]["chain_hash"] == (await ledger.tenant()).head_chain_hash.hex()
    assert of_one.code == 0
    assert of_one.output.startswith(
        f"{TENANT}: 2 of 2 heads hold, the last one of record {filed[2].sequence} at "
    )


async def test_journal_that_was_altered_is_told_with_the_place(
    database_url: str, reconciling: Service, heads: Heads
) -> None:
    """In front of a head and behind it: no record any more, none at all, or one that was chained anew."""
    ledger = await lived_in(reconciling)
    await heads.publish("--all")
    await ledger.fund("ann", 5)
    await ledger.fund("ann", 5)
    newest = await ledger.head()
    published = read_heads(heads.file.read_bytes())[0].head.sequence
    await alter(database_url, KEEP)
    byte = "record = set_byte(record, {0}, get_byte(record, {0}) # 1)"
    # A field that nobody knows: the record can still be read.
    longer = "record = record || '\\xf80701'::bytea"
    at = f"{OF_TENANT} AND sequence = "

    for statement, place, told in (
        (f"UPDATE journal SET {byte.format(40)} WHERE {at} 2", 2, "altered"),
        (f"UPDATE journal SET {byte.format(0)} WHERE {at} {published + 1}", published + 1, "altered"),
        (f"UPDATE journal SET chain_hash = sha256('x') WHERE {at} 3", 3, "altered"),
        (f"DELETE FROM journal WHERE {at} 2", 2, "missing"),
        (
            f"UPDATE journal SET {longer} WHERE {at} {published}; {CHAINED_ANEW.format(published)}",
            published,
            "another record",
        ),
    ):
        await alter(database_url, f"{UNLOCKED} {statement}")
        found = await heads.check("--json")
        await alter(database_url, PUT_BACK)
        assert found.code == 1, (statement, found)
        assert found.json["broken"]["sequence"] == place, (statement, found)
        assert told in found.json["broken"]["text"], statement
        assert f"{TENANT}: BROKEN at record {place}" in found.errors
    assert newest == await ledger.head()
    assert (await heads.check()).code == 0


async def test_journal_that_was_restored_is_told_by_the_heads_beyond_it(
    reconciling: Service, heads: Heads, tmp_path: Path
) -> None:
    """The head before that moment holds; the next one is of the future, and later of another record."""
    ledger = await lived_in(reconciling)
    early, late = heads.file, tmp_path / "late"
    await heads.publish("--all")
    kept = await ledger.head()
    await ledger.fund("ann", 5)
    heads.file = late
    await heads.publish("--all")
    await reconciling.crash()
    run_sql(reconciling.database_url, f"{LOSE_ONE} {RESTORED}")
    await reconciling.restart()
    heads.cli = CommandLine(reconciling.server.port)
    ledger = reconciling.ledger(TENANT, key_prefix="after")

    from_the_future, not_published = await heads.check(), await heads.publish("--all")
    heads.file = early
    held, published = await heads.check(), await heads.publish("--all")
    await ledger.fund("ann", 7)
    heads.file = late
    another = await heads.check()
    heads.file = early
    after = await heads.check()

    lost = kept + 1
    assert from_the_future.code == not_published.code == 1
    assert f"{TENANT}: BROKEN at record {lost} (line 1): the record is missing" in from_the_future.errors
    assert f"the journal ends at record {kept}" in from_the_future.errors
    assert f"{TENANT}: not published: record {lost} was published at" in not_published.errors
    assert (held.code, published.code) == (0, 0), (held, published)
    # The first record of the new history says that it is one, so the lost posting's place is that record's.
    assert another.code == 1
    assert f"{TENANT}: BROKEN at record {lost} (line 1): the head of" in another.errors
    assert "of another record" in another.errors
    assert after.code == 0, after
    assert f"has begun, at record {lost}" in after.output
    assert len(read_heads(early.read_bytes())) == 2


async def test_what_only_a_server_or_a_command_can_say_is_told_by_its_own_code(
    reconciling: Service, heads: Heads
) -> None:
    """Nothing is written meanwhile."""
    await heads.publish("--all")
    whole = heads.file.read_bytes()
    nobody = await heads.publish("--tenant", TENANT, "--tenant", "nobody")
    failed = await heads.cli.run("head", "publish", "--key", str(heads.key), "--all", "--command", "false")

    assert nobody.code == 2
    assert "TENANT_NOT_FOUND" in nobody.errors
    assert failed.code == 4
    assert "false exited with 1" in failed.errors
    assert heads.file.read_bytes() == whole


async def test_command_gets_the_heads(reconciling: Service, heads: Heads) -> None:
    """All of them, to be kept where no one of the ledger can change them; without it they are printed."""
    await reconciling.new_ledger("zeta")
    words = ("head", "publish", "--key", str(heads.key), "--all")

    handed = await heads.cli.run(*words, "--command", f"sh -c 'cat >> {heads.file}'")
    printed = await heads.cli.run(*words)

    assert (handed.code, handed.output) == (0, "2 heads published\n"), handed
    assert [each.head.tenant_id for each in read_heads(heads.file.read_bytes())] == [TENANT, "zeta"]
    assert [each.head.tenant_id for each in read_heads(printed.output.encode())] == [TENANT, "zeta"]
    assert (await heads.check()).code == 0


async def test_one_publisher_at_a_time_is_at_work_on_a_file(reconciling: Service, heads: Heads) -> None:
    """Whoever comes second comes again; no head gets lost."""
    await reconciling.new_ledger("zeta")
    ran = await asyncio.gather(*(heads.publish("--all") for _ in range(3)))

    codes = [each.code for each in ran]
    assert set(codes) <= {0, 5}
    assert len(read_heads(heads.file.read_bytes())) == 2 * codes.count(0) > 0


async def test_list_of_bytes_alone_has_what_the_list_has(reconciling: Service) -> None:
    """On each page; only the record as a message is left out."""
    ledger = await lived_in(reconciling)
    request = journal_pb2.ListJournalRequest(tenant_id=TENANT, page_size=2, bytes_only=True)
    found: list[journal_pb2.JournalEntry] = []
    while True:
        page = await ledger.stubs.journal.ListJournal(request)
        found += page.entries
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token

    assert len(found) > 2
    assert not any(each.HasField("record") for each in found)
    for each in await ledger.entries():
        each.ClearField("record")
        assert each == found[each.sequence - 1]
