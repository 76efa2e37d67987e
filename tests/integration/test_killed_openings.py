"""Own imports of opening balances that die at each stage, and meet: totals are right, none is there twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from ledger_server.engine.reads.openings import OpeningReads
from ledger_server.rpc.callers_ledger import CallersLedger
from tests.integration.cli.conftest import TENANT, CommandLine, ended
from tests.support.coherence import assert_ledger_coherent
from tests.support.ledger import SHADOW, Ledger
from tests.support.openings import Imported, Opener, line
from tests.support.patience import HANG_SECONDS
from tests.support.service import ServerProcess, serving, serving_process
from tests.support.wire import open_channel, refusal

COUNT = 160
LINES = [line(number, real=number, bonus=number % 3) for number in range(1, COUNT + 1)]
TOTAL = sum(each.real_minor + each.bonus_minor for each in LINES)
EQUITY = "equity:opening:EUR"


def die_at(patch: pytest.MonkeyPatch, owner: object, name: str, nth: int, *, after: bool) -> None:
    """Lose the database before the nth call of a function, or the answer to it."""
    function: Callable[..., Awaitable[object]] = getattr(owner, name)
    left = nth

    async def call(*arguments: object, **named: object) -> object:
        nonlocal left
        left -= 1
        if left <= 0 and not after:
            raise ConnectionResetError
        answer = await function(*arguments, **named)
        if left <= 0:
            raise ConnectionResetError
        return answer

    patch.setattr(owner, name, call)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("owner", "name", "nth"),
    [
        (OpeningReads, "known", 1),
        (OpeningReads, "known", 4),
        (OpeningReads, "wallets", 1),
        (OpeningReads, "wallets", 2),
        (CallersLedger, "submit", 1),
        (CallersLedger, "submit", 2),
        (CallersLedger, "submit", 4),
        (CallersLedger, "submit", 7),
    ],
    ids=lambda value: value if isinstance(value, str | int) else value.__name__,
)
async def test_import_that_dies_is_resumed_by_the_same_call(
    ledger: Ledger, owner: object, name: str, nth: int, *, after: bool
) -> None:
    """At each read and each commit, before it and with its answer lost."""
    opener = Opener(ledger)
    with pytest.MonkeyPatch.context() as patch:
        die_at(patch, owner, name, nth, after=after)
        # gRPC's client may lose the reason while it sends lines.
        assert (await refusal(opener.run(LINES, size=20))).reason in {"STORE_UNAVAILABLE", ""}

    done = await opener.run(LINES, size=20)

    assert done.result is not None
    [sums] = done.result.currencies
    assert (sums.line_count, sums.post_count + sums.present_count) == (COUNT, COUNT)
    assert await ledger.posted(EQUITY) == -TOTAL
    assert await ledger.posted("player:p7:real:EUR") == 7
    await assert_ledger_coherent(ledger)


async def test_two_versions_at_once_on_two_servers_post_one_of_them(database_url: str) -> None:
    """Each player has what one of the two said, and the other one is told; neither is posted on top."""
    other = [line(each.line_number, real=each.real_minor + 1_000) for each in LINES]
    async with serving(database_url) as one, serving(database_url) as two:
        ledger = await one.new_ledger()
        second = ledger.over(two.channel, key_prefix="two")
        imports = (Opener(ledger).run(LINES, size=20), Opener(second).run(other, size=20))
        met = await asyncio.gather(*imports, return_exceptions=True)

        wallets = {
            each.account.account_id: each.balance.posted_balance_minor for each in await ledger.accounts()
        }
        for each in LINES:
            name = f"player:{each.player_id}"
            first = (each.real_minor, each.bonus_minor)
            found = (wallets[f"{name}:real:EUR"], wallets.get(f"{name}:bonus:EUR", 0))
            assert found in (first, (each.real_minor + 1_000, 0))
        assert not all(isinstance(each, Imported) for each in met)
        await assert_ledger_coherent(ledger)


@pytest.fixture
async def process(database_url: str, tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """`defter serve` with a tenant."""
    async with serving_process(database_url, log_file=tmp_path / "serve.log") as server:
        async with open_channel(server.port) as channel:
            await Ledger(channel, TENANT).create(SHADOW)
        yield server


async def until_posted(port: int, sequence: int) -> None:
    """Wait until the journal has so many records."""
    async with asyncio.timeout(HANG_SECONDS), open_channel(port) as channel:
        while await Ledger(channel, TENANT).head() < sequence:
            # Every look is a round trip, in which the server goes on.
            pass


async def test_command_and_server_that_are_killed_are_resumed(process: ServerProcess, tmp_path: Path) -> None:
    """The command is begun anew; it sees a server that comes back to the end by itself."""
    count = 2_500
    file = tmp_path / "legacy.csv"
    rows = [f"p{number},EUR,{number}.25" for number in range(count)]
    file.write_text("\n".join(["player_id,currency,real", *rows]))
    total = sum(100 * number + 25 for number in range(count))
    control = f"EUR={total // 100}.{total % 100:02}"
    said = ("--file", str(file), "--import-id", "one", "--control", control, "--json")
    words = ("backfill", "opening-balances", *said)
    cli = CommandLine(process.port)

    command = await cli.begin(*words)
    await until_posted(process.port, 100)
    command.kill()
    await ended(command)
    command = await cli.begin(*words)
    await until_posted(process.port, 2_000)
    process.kill()
    await process.start()
    ran = await ended(command)

    assert ran.code == 0, ran
    [sums] = ran.json["currencies"]
    assert int(sums["post_count"]) + int(sums["present_count"]) == count
    async with open_channel(process.port) as channel:
        ledger = Ledger(channel, TENANT)
        assert await ledger.posted(EQUITY) == -total
        assert await ledger.head() == 2 + 2 * count
        assert not (await ledger.verify()).HasField("first_difference")
