"""Own which mixes of versions are allowed: servers of earlier versions on the schemas that came after them.

A deployment migrates first, starts the new servers beside the old ones, and then ends the old ones. So the
code of each earlier version meets every later schema with rows of its own in it, and then rows that today's
server has written.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import grpc
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DBAPIError

from ledger_server.store import migrate
from tests.support.cashier import Cashier
from tests.support.coherence import assert_ledger_coherent
from tests.support.fake_provider import PROVIDER, fake_providers
from tests.support.guarded import guarding
from tests.support.ledger import Ledger
from tests.support.postgres import Databases
from tests.support.released import RELEASED, Unpacked, git, unpack
from tests.support.reports import assert_transactions_agree
from tests.support.service import serving, serving_process
from tests.support.wire import open_channel, refusal

# A lock time-out, and a deadlock in which the migration was the one to give way.
LOCKED_OUT: Final = frozenset({"55P03", "40P01"})
# Nobody listens there: what is owed to the provider stays open through all migrations.
NO_PSP: Final = f"""
[providers.{PROVIDER}]
adapter = "mock"
base_address = "http://127.0.0.1:9"
api_key_env = "NO_PSP_KEY"
"""


def revisions_after(revision: str) -> list[str]:
    """Return the schema's later revisions, oldest first."""
    config = migrate._config("", migrate.APPLICATION_ROLE)
    script = ScriptDirectory.from_config(config)
    return [each.revision for each in script.iterate_revisions("head", revision)][::-1]


# Two tenants; today's server writes to the first one by itself, since it makes the calls that are owed.
PAYING, QUIET = "casino", "poker"


async def write_rows(ledger: Ledger) -> str:
    """Write a row of each kind that callers can: postings, holds, a payment with an event and an owed call.

    Returns the id of a hold that stays open.
    """
    await ledger.fund("bob", 100)
    ended = await ledger.place_hold("bob", "house", 30)
    await ledger.capture(ended.hold_id, 10, final=True)
    kept = await ledger.place_hold("bob", "house", 5)
    assert (await refusal(ledger.post("bob", "house", 10**9))).reason == "INSUFFICIENT_FUNDS"
    if ledger.tenant_id == PAYING:
        cashier = Cashier(ledger, first=await ledger.head() * 10)
        await cashier.captured(700)
        await cashier.initiate(300, provider_ref="")
    return kept.hold_id


async def assert_reads(ledger: Ledger, times: int, hold_id: str, *, by_id: bool = True) -> None:
    """What was written so many times is read back: balances, holds, payments, statements and journal.

    A version that knows no epochs takes an id with one for nobody's (`by_id`), and never for another's.
    """
    assert await ledger.posted("bob") == 90 * times
    if by_id:
        assert (await ledger.hold(hold_id)).remaining_minor == 5
    else:
        with pytest.raises(grpc.aio.AioRpcError, match="no such hold"):
            await ledger.hold(hold_id)
    assert len(await ledger.holds()) >= 2 * times
    captured = [each.captured_minor for each in await Cashier(ledger).deposits()]
    assert captured.count(700) == (times if ledger.tenant_id == PAYING else 0)
    # Today's server goes on by itself where calls are owed.
    head = await ledger.head()
    assert len(await ledger.entries()) >= head
    assert len(await ledger.statement("bob")) == 4 * times


async def upgrade(url: str, revision: str) -> None:
    """Migrate beside servers that write; as an operator does, again where a lock was not to be had."""
    while True:
        try:
            await asyncio.to_thread(migrate.upgrade, url, revision)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", "") not in LOCKED_OUT:
                raise
        else:
            return


async def assert_refused(old: Ledger, today: Ledger) -> None:
    """A constraint refuses the old server's write whole; its key is free for today's server."""
    posted = await today.posted("bob")

    refused = await refusal(old.post("house", "bob", 1, key="late"))

    assert (refused.code, refused.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert await today.posted("bob") == posted
    await today.post("house", "bob", 1, key="late")
    assert await today.posted("bob") == posted + 1


@pytest.mark.parametrize("version", RELEASED)
async def test_run_released_code_on_every_later_schema_then_beside_todays_server(
    version: str, databases: Databases, tmp_path: Path
) -> None:
    """It reads and writes on each schema; a tenant that has got its first epoch it may only read."""
    released = RELEASED[version]
    code = unpack(released, tmp_path / "code")
    providers = tmp_path / "providers.toml"
    providers.write_text(NO_PSP)
    environment = {
        **code.environment,
        "DEFTER_PROVIDERS_FILE": str(providers),
        "NO_PSP_KEY": "none",
    }
    with databases.empty() as url:
        await migrate_with(code, url)
        running = serving_process(
            url, log_file=tmp_path / "old.log", program=code.program, environment=environment
        )
        async with running as old, open_channel(old.port) as channel:
            ledgers = [Ledger(channel, name, key_prefix="old") for name in (PAYING, QUIET)]
            holds = {}
            for ledger in ledgers:
                await ledger.create()
                await ledger.open_house()
                await ledger.open("bob")
                holds[ledger.tenant_id] = await write_rows(ledger)
            written = 1
            for revision in revisions_after(released.schema):
                # What is written meanwhile meets the migration's locks, and statements prepared before it.
                await asyncio.gather(upgrade(url, revision), *map(write_rows, ledgers))
                for ledger in ledgers:
                    holds[ledger.tenant_id] = await write_rows(ledger)
                written += 2
            paying, quiet = ledgers
            for ledger in ledgers:
                await assert_reads(ledger, written, holds[ledger.tenant_id])

            async with serving(url, providers=fake_providers()) as service:
                today = service.ledger(PAYING, key_prefix="today")
                await assert_ledger_coherent(today)
                hold_id = await write_rows(today)
                assert hold_id.count("_") == 3  # it carries an epoch

                # The same process, which has the tenant's state of before in its memory.
                await assert_reads(paying, written + 1, hold_id, by_id=released.knows_epochs)
                if released.knows_epochs:
                    hold_id = await write_rows(paying)
                    await assert_reads(today, written + 2, hold_id)
                else:
                    await assert_refused(paying, today)
                # Today's server has written nothing here yet.
                await write_rows(quiet)
                for name in (PAYING, QUIET):
                    await assert_ledger_coherent(service.ledger(name))
                    await assert_transactions_agree(url, service.ledger(name))


@pytest.mark.parametrize("version", RELEASED)
async def test_start_released_code_on_todays_rows_reads_and_writes_what_it_may(
    version: str, databases: Databases, tmp_path: Path
) -> None:
    """A rolled-back server starts on what today's has written, and gives every read its answer."""
    released = RELEASED[version]
    code = unpack(released, tmp_path / "code")
    with databases.empty() as url:
        await asyncio.to_thread(migrate.upgrade, url)
        async with serving(url, providers=fake_providers()) as service:
            today = await service.new_ledger(PAYING)
            await today.open_house()
            await today.open("bob")
            hold_id = await write_rows(today)
        running = serving_process(
            url, log_file=tmp_path / "old.log", program=code.program, environment=code.environment
        )
        async with running as old, open_channel(old.port) as channel:
            ledger = Ledger(channel, PAYING, key_prefix="old")
            await assert_reads(ledger, 1, hold_id, by_id=released.knows_epochs)
            if released.knows_epochs:
                await ledger.fund("bob", 1)
            else:
                refused = await refusal(ledger.fund("bob", 1))
                assert (refused.code, refused.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
        async with serving(url, providers=fake_providers()) as service:
            await assert_ledger_coherent(service.ledger(PAYING))


async def test_released_code_drops_claim_and_notes_of_what_it_changes(
    databases: Databases, tmp_path: Path
) -> None:
    """What it does not change it leaves as it is; payments of either are found by their reference."""
    code = unpack(RELEASED["before claims"], tmp_path / "code")
    (tmp_path / "providers.toml").write_text(NO_PSP)
    environment = {
        **code.environment,
        "DEFTER_PROVIDERS_FILE": str(tmp_path / "providers.toml"),
        "NO_PSP_KEY": "none",
    }
    with databases.empty() as url:
        await asyncio.to_thread(migrate.upgrade, url)
        async with serving(url, providers=fake_providers()) as service:
            ledger = await service.new_ledger(PAYING)
            today = Cashier(ledger)
            await today.captured(1_000)
            left, changed = [(await today.request(100, reference="of today")).withdrawal_id for _ in range(2)]
            for withdrawal_id in (left, changed):
                await today.claim(withdrawal_id, "ada")
                await today.add_note(withdrawal_id, "known for years", "ada")
            process = serving_process(
                url, log_file=tmp_path / "old.log", program=code.program, environment=environment
            )
            async with process as old, open_channel(old.port) as channel:
                before = Cashier(Ledger(channel, PAYING, key_prefix="old"), first=1_000)
                await before.approve(changed, "bob")
                written = await before.request(100, reference="of before")

            kept, lost = await today.withdrawal(left), await today.withdrawal(changed)
            assert (kept.claim.reviewer, [each.text for each in kept.notes]) == ("ada", ["known for years"])
            assert lost.approvals[0].reviewer == "bob"
            assert (lost.HasField("claim"), list(lost.notes)) == (False, [])
            assert await today.withdrawals(reference="of today") == [kept, await today.withdrawal(changed)]
            assert await today.withdrawals(reference="of before") == [written]
            again = await today.add_note(written.withdrawal_id, "found it")
            assert await today.withdrawals(reference="of before") == [again]
            await assert_ledger_coherent(ledger)


async def test_released_code_reads_what_callers_have_written(databases: Databases, tmp_path: Path) -> None:
    """A server from before callers skips their names, verifies the rest, and changes none of them."""
    code = unpack(RELEASED["of schema 0012"], tmp_path / "code")
    (tmp_path / "providers.toml").write_text(NO_PSP)
    environment = {
        **code.environment,
        "DEFTER_PROVIDERS_FILE": str(tmp_path / "providers.toml"),
        "NO_PSP_KEY": "none",
    }
    console = "spiffe://d/console"

    @asynccontextmanager
    async def before(url: str, key_prefix: str) -> AsyncIterator[Ledger]:
        process = serving_process(
            url, log_file=tmp_path / "old.log", program=code.program, environment=environment
        )
        async with process as old, open_channel(old.port) as channel:
            yield Ledger(channel, PAYING, key_prefix=key_prefix)

    @asynccontextmanager
    async def today(url: str, key_prefix: str) -> AsyncIterator[Ledger]:
        async with (
            guarding(url, tmp_path, providers=fake_providers()) as guarded,
            guarded.channel_of(console) as channel,
        ):
            yield Ledger(channel, PAYING, key_prefix=key_prefix)

    with databases.empty() as url:
        await migrate_with(code, url)
        async with before(url, "old") as ledger:
            await ledger.create()
            await ledger.open_house()
            await ledger.open("bob")
            await write_rows(ledger)
        await asyncio.to_thread(migrate.upgrade, url)
        async with today(url, "today") as ledger:
            filled = await ledger.head()
            hold_id = await write_rows(ledger)
            cashier = Cashier(ledger)
            await cashier.set_policy(second_review_from_minor={"EUR": 1})
            withdrawal = await cashier.request(100)
            await cashier.approve(withdrawal.withdrawal_id, "ada")
            written = [entry for entry in await ledger.entries() if entry.record.HasField("caller")]
            assert {entry.record.caller.identity for entry in written} == {console}
            assert min(entry.sequence for entry in written) > filled
            assert not (await ledger.verify()).HasField("first_difference")
        async with before(url, "after") as ledger:
            await assert_reads(ledger, 2, hold_id)
            assert not (await ledger.verify()).HasField("first_difference")
            await write_rows(ledger)
            # It decides as an open server does, by names alone.
            refused = await refusal(Cashier(ledger).approve(withdrawal.withdrawal_id, "ada"))
            assert refused.reason == "SECOND_REVIEWER_REQUIRED"
        async with today(url, "end") as ledger:
            assert [entry for entry in await ledger.entries() if entry.record.HasField("caller")] == written
            passed = await Cashier(ledger).approve(withdrawal.withdrawal_id, "bob")
            assert [each.identity for each in passed.approvals] == [console, console]
            assert not (await ledger.verify()).HasField("first_difference")


async def migrate_with(code: Unpacked, url: str) -> None:
    """Make the schema that a version knows with its own command."""
    migrated = await asyncio.to_thread(
        subprocess.run,
        [*code.program, "migrate"],
        env={**os.environ, **code.environment, "DEFTER_DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert migrated.returncode == 0, migrated.stdout + migrated.stderr


def test_name_versions_by_the_schema_that_they_know(tmp_path: Path) -> None:
    """The table says what is in the code: its newest migration."""
    for number, released in enumerate(RELEASED.values()):
        folder = tmp_path / str(number)
        unpack(released, folder)
        # They have stood in more than one folder.
        files = folder.rglob("migrations/versions/0*.py")
        assert max(file.name.partition("_")[0] for file in files) == released.schema


def test_newest_release_is_in_the_table() -> None:
    """What operators run now meets the migrations that came after it."""
    tag = git("describe", "--tags", "--abbrev=0", "--match", "v[0-9]*")
    if not tag:
        return  # nothing is released yet, so the commits of the table stand for it
    then, now = (
        {
            Path(name).name
            for name in git("ls-tree", "-r", "--name-only", each).split()
            if "/versions/" in name
        }
        for each in (tag, "HEAD")
    )

    assert then == now or git("rev-parse", f"{tag}^{{commit}}") in {
        git("rev-parse", f"{released.commit}^{{commit}}") for released in RELEASED.values()
    }
