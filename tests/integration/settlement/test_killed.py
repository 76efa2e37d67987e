"""Own imports that die: at each step by a lost database, and a whole server in the middle."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from ledger_server.jobs.settlement.telling import Teller
from ledger_server.store import record_store, settlement_store
from tests.support.clock import FakeClock
from tests.support.fake_provider import fake_providers
from tests.support.ledger import Ledger
from tests.support.postgres import Databases
from tests.support.randomness import SEED
from tests.support.service import ServerProcess, serving
from tests.support.settlement import BALANCED, UNBALANCED, Rows, Settler, charge, paid, stripe_file
from tests.support.wire import open_channel, refusal

# Two pages of lines, two batches, one of them out of balance.
LINES = [charge(10, 1, name=f"k{number}") for number in range(1_200)]
FILE = stripe_file([*LINES, paid(10_800), charge(5, batch="po_2"), paid(4, batch="po_2")])
TABLES = {
    "settlement_reports": "provider, digest, body",
    "settlement_lines": "line_id, batch_id, gross, fee, line_number",
    "settlement_batches": "batch_id, state, told_version = version AS told, body",
    "provider_records": "kind, record_id, amount, batch, verdict",
    "reconciliation_findings": "fingerprint, state, version",
}
Steps = list[tuple[object, str, int]]
# Where to die: before the nth call of a function.
IN_THE_TRANSACTION: Steps = [
    (settlement_store, "read_report", 1),
    (settlement_store, "known_lines", 2),
    (settlement_store, "add_lines", 1),
    (settlement_store, "add_lines", 2),
    (settlement_store, "add_up", 1),
    (settlement_store, "put_batches", 1),
    (settlement_store, "add_report", 1),
]
AFTER_THE_COMMIT: Steps = [
    (Teller, "tell", 1),
    (Teller, "_submit", 1),
    (settlement_store, "set_told", 1),
    (record_store, "stage", 1),
    (record_store, "stage", 2),
]


def die_at(patch: pytest.MonkeyPatch, owner: object, name: str, nth: int) -> None:
    """Lose the database before the nth call of a function."""
    function: Callable[..., Awaitable[object]] = getattr(owner, name)
    left = nth

    async def call(*arguments: object, **named: object) -> object:
        nonlocal left
        left -= 1
        if left <= 0:
            raise ConnectionResetError
        return await function(*arguments, **named)

    patch.setattr(owner, name, call)


async def content(rows: Rows) -> dict[str, list[tuple[object, ...]]]:
    """Return what the tables of settlement have."""
    return {
        table: sorted(
            tuple(row) for row in await rows.fetch(f"SELECT {columns} FROM {table} WHERE tenant_key = $1")
        )
        for table, columns in TABLES.items()
    }


@pytest.fixture
async def undisturbed(databases: Databases) -> dict[str, list[tuple[object, ...]]]:
    """What an import leaves that nobody disturbs."""
    with databases.fresh() as url:
        async with serving(url, clock=FakeClock(), providers=fake_providers()) as service:
            await Settler(await service.new_ledger()).send(FILE)
            return await content(Rows(url))


@pytest.mark.parametrize(("owner", "name", "nth"), IN_THE_TRANSACTION)
async def test_die_before_the_commit_leaves_nothing(
    settler: Settler,
    rows: Rows,
    undisturbed: object,
    monkeypatch: pytest.MonkeyPatch,
    owner: object,
    name: str,
    nth: int,
) -> None:
    """All or nothing; sent again, it is as if nothing had happened."""
    with monkeypatch.context() as patch:
        die_at(patch, owner, name, nth)
        assert (await refusal(settler.send(FILE))).reason == "STORE_UNAVAILABLE"
    assert not any((await content(rows)).values())

    assert not (await settler.send(FILE)).duplicate
    assert await content(rows) == undisturbed


@pytest.mark.parametrize(("owner", "name", "nth"), AFTER_THE_COMMIT)
async def test_die_after_the_commit_is_finished_by_the_same_file(
    settler: Settler,
    rows: Rows,
    undisturbed: object,
    monkeypatch: pytest.MonkeyPatch,
    owner: object,
    name: str,
    nth: int,
) -> None:
    """The file is a duplicate by then, and still its findings and records are there in the end."""
    with monkeypatch.context() as patch:
        die_at(patch, owner, name, nth)
        assert (await refusal(settler.send(FILE))).reason == "STORE_UNAVAILABLE"
    assert await content(rows) != undisturbed

    assert (await settler.send(FILE)).duplicate
    assert await content(rows) == undisturbed


async def test_die_before_telling_is_told_by_any_other_import(
    settler: Settler, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever imports next for the account looks after what was left."""
    with monkeypatch.context() as patch:
        die_at(patch, Teller, "tell", 1)
        await refusal(settler.send(FILE))
    assert await rows.mismatches() == {}
    await settler.send(stripe_file([charge(1, batch="po_3")]))
    assert await rows.mismatches() == {"po_2": "OPEN"}


async def test_cancel_while_sending_leaves_nothing(settler: Settler, rows: Rows) -> None:
    """Half a file is no file."""
    call = settler.stub.ImportSettlementReport()
    await call.write(settler.header())
    await call.write(type(settler.header())(chunk=FILE[:1_000]))
    call.cancel()
    assert (await settler.send(FILE)).report.new_line_count == len(LINES) + 3
    assert await rows.count("settlement_reports") == 1


CONFIGURATION = """
[providers.mock]
adapter = "mock"
base_address = "http://127.0.0.1:1"
api_key_env = "MOCK_KEY"
"""


async def test_kill_the_server_in_the_middle_then_import_again(
    database_url: str, tmp_path: Path, clock: FakeClock
) -> None:
    """Killed at random moments, a few times; in the end each line is there once."""
    chance = random.Random(SEED)
    lines = [charge(100, 3, name=f"x{number}", at=number % 80_000) for number in range(6_000)]
    data = stripe_file([*lines, paid(582_000), charge(9, batch="po_2"), paid(8, batch="po_2")])
    configuration = tmp_path / "providers.toml"
    configuration.write_text(CONFIGURATION)
    environment = {"DEFTER_PROVIDERS_FILE": str(configuration), "MOCK_KEY": "secret"}
    rows = Rows(database_url)
    for attempt in range(4):
        process = ServerProcess(database_url, log_file=tmp_path / f"{attempt}.log", environment=environment)
        try:
            await process.start()
            async with open_channel(process.port) as channel:
                settler = Settler(Ledger(channel, "casino"))
                if not attempt:
                    await settler.ledger.create()
                sending = asyncio.ensure_future(settler.send(data))
                await asyncio.wait({sending}, timeout=chance.uniform(0.05, 1.5))
                process.kill()
                await asyncio.gather(sending, return_exceptions=True)
        finally:
            if process.is_alive:
                process.kill()
        assert (await rows.count("settlement_lines")) in {0, len(lines) + 3}
    async with serving(database_url, clock=clock, providers=fake_providers()) as service:
        settler = Settler(service.ledger())
        await settler.send(data)
        states = {batch.batch_id: batch.state for batch in await settler.batches()}
        assert states == {"po_1": BALANCED, "po_2": UNBALANCED}
        assert (await settler.batch()).line_count == len(lines)
        assert await rows.mismatches() == {"po_2": "OPEN"}
        assert not (await settler.ledger.verify()).HasField("first_difference")
    assert await rows.count("settlement_reports") == 1
    # A payment and its fee each, the pay-outs, and one payment without a fee.
    assert await rows.count("provider_records") == 2 * len(lines) + 3
