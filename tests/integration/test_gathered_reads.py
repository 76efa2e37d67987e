"""Balances that are asked for at the same time are read together; each caller gets its own, a fresh one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import asyncpg
import grpc
import pytest
from defter.ledger.v1 import account_pb2

from ledger_server.domain.errors import AccountNotFound
from ledger_server.engine.reads.gathered import GatheredReads
from ledger_server.store.queries.accounts import AccountNow
from tests.support.ledger import Ledger
from tests.support.service import Service
from tests.support.tenant_lock import WAIT_SECONDS, poll
from tests.support.wire import read_refusal


class Gated:
    """Reads nothing, and says what was asked for; no read ends before its gate is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.asked: list[tuple[str, Sequence[str]]] = []
        self.error: Exception | None = None

    async def find_accounts(self, tenant_id: str, account_ids: Sequence[str]) -> Mapping[str, AccountNow]:
        """Wait for the gate."""
        self.asked.append((tenant_id, account_ids))
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return {}


def asking(
    reads: GatheredReads, *account_ids: str, tenant_id: str = "casino"
) -> list[asyncio.Task[AccountNow]]:
    """Ask for accounts, all at once."""
    return [asyncio.create_task(reads.account(tenant_id, account_id)) for account_id in account_ids]


async def balance(ledger: Ledger, account_id: str) -> account_pb2.GetBalanceResponse:
    """Return all that is answered."""
    request = account_pb2.GetBalanceRequest(tenant_id=ledger.tenant_id, account_id=account_id)
    return await ledger.stubs.accounts.GetBalance(request)


async def test_ask_while_a_read_is_under_way_is_answered_by_the_next_one() -> None:
    """It must not see less than what was there when it came; and no account is read twice."""
    gated = Gated()
    reads = GatheredReads(gated)
    first = asking(reads, "ann")
    await asyncio.sleep(0.01)
    later = asking(reads, "ann", "bob", "bob", "cid")
    others = asking(reads, "ann", tenant_id="other")
    await asyncio.sleep(0.01)

    gated.gate.set()
    errors = await asyncio.gather(*first, *later, *others, return_exceptions=True)

    assert gated.asked[:2] == [("casino", ["ann"]), ("other", ["ann"])]
    assert gated.asked[2:] == [("casino", ["ann", "bob", "cid"])]
    assert [type(error) for error in errors] == [AccountNotFound] * 6


async def test_ask_beside_callers_who_go_away_is_answered() -> None:
    """Whoever gives up takes nobody else with him, whether his read was under way or not."""
    gated = Gated()
    reads = GatheredReads(gated)
    gone, stays = asking(reads, "ann", "ann")
    await asyncio.sleep(0.01)
    gone_later, stays_later = asking(reads, "bob", "bob")
    await asyncio.sleep(0.01)
    gone.cancel()
    gone_later.cancel()

    gated.gate.set()

    for task in (stays, stays_later):
        with pytest.raises(AccountNotFound):
            await task
    assert gone.cancelled()
    assert gone_later.cancelled()


async def test_read_that_fails_is_told_to_all_who_wait_for_it_and_to_nobody_else() -> None:
    """The next one is tried anew."""
    gated = Gated()
    reads = GatheredReads(gated)
    gated.error = OSError("gone")
    gated.gate.set()
    for task in asking(reads, "ann", "bob"):
        with pytest.raises(OSError, match="gone"):
            await task

    gated.error = None
    with pytest.raises(AccountNotFound):
        await reads.account("casino", "ann")


async def test_get_balance_after_own_posting_shows_it_whoever_else_asks(ledger: Ledger) -> None:
    """Thirty callers post and read by turns: no read is older than what its caller knows to be there."""
    players = [f"player{number}" for number in range(30)]
    for player in players:
        await ledger.open(player)

    async def play(player: str) -> None:
        for round_number in range(1, 16):
            posted = await ledger.post("house", player, 7)
            read = await balance(ledger, player)
            assert read.account_id == player
            assert read.sequence >= posted.sequence
            assert read.balance.posted_balance_minor == 7 * round_number

    await asyncio.gather(*(play(player) for player in players))


async def test_get_balances_at_once_tells_each_caller_its_own(ledger: Ledger) -> None:
    """Accounts that there are not, and tenants that there are not, disturb nobody."""
    await ledger.open("ann")
    await ledger.fund("ann", 500)
    nobody = Ledger(ledger.channel, "nobody")
    asked = ((ledger, "ann"), (ledger, "bob"), (nobody, "ann"))
    calls = [balance(*each) for _ in range(50) for each in asked]

    answers = await asyncio.gather(*calls, return_exceptions=True)

    for ann, bob, other in zip(answers[::3], answers[1::3], answers[2::3], strict=True):
        assert not isinstance(ann, BaseException)
        assert ann.balance.posted_balance_minor == 500
        assert isinstance(bob, grpc.aio.AioRpcError)
        assert read_refusal(bob).reason == "ACCOUNT_NOT_FOUND"
        assert isinstance(other, grpc.aio.AioRpcError)
        assert read_refusal(other).reason == "TENANT_NOT_FOUND"


async def test_get_balances_while_a_connection_breaks_are_answered(server: Service, ledger: Ledger) -> None:
    """The statement that was cut is repeated over another connection, for all who waited for it."""
    await ledger.open("ann")
    blocker = await asyncpg.connect(server.database_url)
    try:
        async with asyncio.timeout(WAIT_SECONDS), blocker.transaction():
            await blocker.execute("LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE")
            calls = [asyncio.create_task(balance(ledger, "ann")) for _ in range(20)]
            waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            waiting += " AND wait_event_type = 'Lock'"
            await poll(server.database_url, waiting)
            await blocker.execute(f"SELECT pg_terminate_backend(pid) FROM ({waiting}) AS w")
        answers = await asyncio.gather(*calls)
    finally:
        await blocker.close()

    assert {answer.account_id for answer in answers} == {"ann"}
