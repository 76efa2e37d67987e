"""Own that accounts of payments can be continued at any moment, and no payment notices."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from defter.ledger.v1 import account_pb2
from defter.payments.v1 import payment_pb2

from tests.support.cashier import CAPTURED, WALLET, Cashier
from tests.support.clock import FakeClock
from tests.support.coherence import assert_ledger_coherent
from tests.support.fake_provider import PROVIDER
from tests.support.requests import timestamp
from tests.support.wire import refusal

CLEARING = f"psp:{PROVIDER}:clearing:EUR"
FEES = f"psp:{PROVIDER}:fees:EUR"
LARGEST = 2**63 - 1
PAID = payment_pb2.PROVIDER_EVENT_TYPE_PAYOUT_PAID

Step = Callable[[Cashier, dict[str, str]], Awaitable[object]]


async def begin(cashier: Cashier, made: dict[str, str]) -> None:
    """Begin a deposit."""
    made["deposit"] = (await cashier.initiate(500)).deposit_id


async def capture_a_part(cashier: Cashier, made: dict[str, str]) -> None:
    """Have a part of it captured."""
    await cashier.ingest(cashier.event(CAPTURED, made["deposit"], 200, object_ref="one"))


async def capture_the_rest(cashier: Cashier, made: dict[str, str]) -> None:
    """Have the rest captured."""
    await cashier.ingest(cashier.event(CAPTURED, made["deposit"], 300, object_ref="two"))


async def withdraw(cashier: Cashier, made: dict[str, str]) -> None:
    """Ask for a withdrawal, and let it pass."""
    made["withdrawal"] = (await cashier.request(200)).withdrawal_id


async def pay(cashier: Cashier, made: dict[str, str]) -> None:
    """Have it paid."""
    await cashier.approve(made["withdrawal"])
    await cashier.until_called()
    await cashier.ingest(cashier.event(PAID, made["withdrawal"], 200))


STEPS: tuple[Step, ...] = (begin, capture_a_part, capture_the_rest, withdraw, pay)


async def line(cashier: Cashier, account_id: str) -> list[account_pb2.ListAccountsResponse.Item]:
    """Return an account and those that continue it."""
    found = await cashier.ledger.accounts()
    return [one for one in found if one.account.account_id.partition("@")[0] == account_id]


@pytest.mark.parametrize("account_id", [WALLET, CLEARING, FEES])
@pytest.mark.parametrize("at", [*itertools.combinations_with_replacement(range(1, 6), 2)])
async def test_continue_account_of_payments_at_any_step_changes_no_outcome(
    cashier: Cashier, account_id: str, at: tuple[int, int]
) -> None:
    """Twice, at the same step or at different ones: the wallet, the books and the journal agree."""
    made: dict[str, str] = {}
    for number, step in enumerate(STEPS, 1):
        await step(cashier, made)
        for _ in range(at.count(number)):
            newest = (await line(cashier, account_id))[-1].account.account_id
            await cashier.ledger.continue_account(newest)
            assert (await line(cashier, account_id))[-1].account.continues_account_id == newest

    real = (await cashier.wallet()).balances[0].real
    assert (real.posted_minor, real.available_minor) == (300, 300)
    assert (real.pending_in_minor, real.pending_out_minor) == (0, 0)
    assert (await cashier.withdrawal(made["withdrawal"])).balance_after_minor == 300
    of = await line(cashier, account_id)
    assert [one.balance.posted_balance_minor for one in of[:-1]] == [0] * 2
    assert of[-1].balance.posted_balance_minor == (0 if account_id == FEES else 300)
    await assert_ledger_coherent(cashier.ledger)


async def test_continue_wallet_with_money_on_its_way_out_keeps_it_reserved(cashier: Cashier) -> None:
    """What is held for a withdrawal can't be spent from the successor."""
    await cashier.captured(500)
    await cashier.request(400)
    await cashier.ledger.continue_account(WALLET)

    assert (await refusal(cashier.request(200))).reason == "INSUFFICIENT_FUNDS"
    assert (await cashier.request(100)).balance_after_minor == 0
    await assert_ledger_coherent(cashier.ledger)


async def test_continue_account_that_is_full_lets_deposits_go_on(cashier: Cashier) -> None:
    """A counter at its end is no dead end: everybody can deposit again, and nothing is lost."""
    ledger = cashier.ledger
    await cashier.captured(500)
    await ledger.post(CLEARING, "house", LARGEST - 600)
    await ledger.open_house("sink")
    await ledger.post("sink", CLEARING, LARGEST - 600)
    full = await refusal(cashier.initiate(200))
    assert (full.reason, full.metadata["account_id"]) == ("AMOUNT_OVERFLOW", CLEARING)
    assert "ContinueAccount" in full.message

    await ledger.continue_account(CLEARING)
    await cashier.captured(200)

    assert (await cashier.wallet()).balances[0].real.posted_minor == 700
    assert await ledger.posted(f"{CLEARING}@2") == 700
    await assert_ledger_coherent(ledger)


async def test_hold_that_expires_on_continued_account_frees_its_money(
    cashier: Cashier, clock: FakeClock
) -> None:
    """What was reserved follows to the successor, where it can be spent."""
    ledger = cashier.ledger
    await cashier.captured(500)
    await ledger.place_hold(WALLET, "house", 500, expire_time=timestamp(clock.now + timedelta(seconds=60)))
    await ledger.continue_account(WALLET)
    assert (await refusal(cashier.request(100))).reason == "INSUFFICIENT_FUNDS"

    clock.advance(seconds=61)

    assert (await cashier.request(500)).balance_after_minor == 0
    await assert_ledger_coherent(ledger)


async def test_use_continued_account_names_its_successor(cashier: Cashier) -> None:
    """Callers that name it are told where to go, in words and as a fact."""
    ledger = cashier.ledger
    await cashier.captured(500)
    await ledger.continue_account(WALLET)

    for call in (
        ledger.post(WALLET, "house", 1),
        ledger.post("house", WALLET, 1),
        ledger.place_hold(WALLET, "house", 1),
        ledger.continue_account(WALLET),
        ledger.set_limits(WALLET, account_pb2.AccountLimits()),
    ):
        refused = await refusal(call)
        assert refused.reason == "ACCOUNT_CLOSED"
        assert refused.metadata == {"account_id": WALLET, "continued_by": f"{WALLET}@2"}


async def test_continue_under_taken_id_takes_another_number(cashier: Cashier) -> None:
    """An account that somebody has opened under the next id is in nobody's way."""
    ledger = cashier.ledger
    # The ids that follow a wallet's are reserved; those of other accounts are anybody's.
    await ledger.open("jackpot")
    await ledger.open("jackpot@2")
    await ledger.post("house", "jackpot", 500)
    assert (await refusal(ledger.continue_account("jackpot"))).reason == "ACCOUNT_ALREADY_EXISTS"

    answer = await ledger.continue_account("jackpot", number=9)

    assert answer.account.continued_by_account_id == answer.successor.account_id == "jackpot@9"
    assert (await ledger.balance("jackpot@9")).posted_balance_minor == 500
    await assert_ledger_coherent(ledger)


@pytest.mark.parametrize("number", [-1, 1, 1_000_000])
async def test_continue_with_impossible_number_is_refused(cashier: Cashier, number: int) -> None:
    """It is refused before anything is decided, so the key stays unused."""
    await cashier.captured(500)

    refused = await refusal(cashier.ledger.continue_account(WALLET, number=number, key="again"))

    assert (refused.reason, refused.metadata["field"]) == ("FIELD_OUT_OF_RANGE", "successor_number")
    assert (await cashier.ledger.continue_account(WALLET, key="again")).successor.account_id == f"{WALLET}@2"


async def test_reverse_transaction_of_continued_account_moves_its_successor(cashier: Cashier) -> None:
    """What was posted before can be taken back afterwards."""
    ledger = cashier.ledger
    await cashier.captured(500)
    posted = await ledger.post(WALLET, "house", 200)
    await ledger.continue_account(WALLET)

    await ledger.reverse(posted.transaction_id)

    assert await ledger.posted(f"{WALLET}@2") == 500
    await assert_ledger_coherent(ledger)


async def test_continue_frozen_account_stays_frozen(cashier: Cashier) -> None:
    """Going on is no way around."""
    ledger = cashier.ledger
    await cashier.captured(500)
    await ledger.freeze(WALLET)
    await ledger.continue_account(WALLET)

    assert (await refusal(cashier.request(100))).reason == "ACCOUNT_FROZEN"


async def test_close_successor_waits_for_what_it_continues(cashier: Cashier) -> None:
    """What is held on the old account would have nowhere to go."""
    ledger = cashier.ledger
    await cashier.captured(500)
    await cashier.request(500)
    await ledger.continue_account(WALLET)

    refused = await refusal(ledger.close(f"{WALLET}@2"))

    assert (refused.reason, refused.metadata["account_id"]) == ("ACCOUNT_NOT_EMPTY", WALLET)
