"""What a test can do to the fake: let time pass, have calls fail, and say what a provider does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import grpc
import pytest
from defter.ledger.v1 import account_pb2, hold_pb2, journal_pb2, posting_pb2
from defter.payments.v1 import deposit_pb2, payment_pb2, wallet_pb2, withdrawal_pb2

from defter_client import BlockingLedgerClient, LedgerClient, LedgerError
from defter_testing import Failure, FakeLedger, Fate
from tests.support.clock import START
from tests.support.patience import HANG_SECONDS
from tests.support.requests import ASSET, BET, LIABILITY, new_account, transfer

WALLET = "player:ann:real:EUR"
PLENTY_SECONDS = HANG_SECONDS
"""So long a client goes on trying."""


@pytest.fixture
def client(fake_ledger: FakeLedger, fake_tenant: str) -> Iterator[BlockingLedgerClient]:
    """A client of a tenant with a house and a wallet with 100."""
    with BlockingLedgerClient(
        fake_ledger.target, tenant=fake_tenant, timeout_seconds=PLENTY_SECONDS
    ) as found:
        for account_id, kind in (("house", ASSET), (WALLET, LIABILITY)):
            account = new_account(account_id, kind=kind)
            found.accounts.open_account(account_pb2.OpenAccountRequest(account=account))
        found.postings.post_transaction(paying(100))
        yield found


def paying(amount: int) -> posting_pb2.PostTransactionRequest:
    """Return the request that pays money into the wallet."""
    return posting_pb2.PostTransactionRequest(transaction=transfer("house", WALLET, amount))


def available(client: BlockingLedgerClient) -> int:
    """Return what may be spent from the wallet."""
    request = account_pb2.GetBalanceRequest(account_id=WALLET)
    return client.accounts.get_balance(request).balance.available_balance_minor


def once(fake: FakeLedger, tenant_id: str, failure: Failure) -> grpc.RpcError:
    """Have one posting fail without another try, and return its error."""
    fake.fail_next(failure, method="PostTransaction")
    request = paying(7)
    request.tenant_id, request.idempotency_key = tenant_id, "once"
    with grpc.insecure_channel(fake.target) as channel:
        post = channel.unary_unary(
            "/defter.ledger.v1.PostingService/PostTransaction",
            posting_pb2.PostTransactionRequest.SerializeToString,
            posting_pb2.PostTransactionResponse.FromString,
        )
        with pytest.raises(grpc.RpcError) as caught:
            post(request, timeout=HANG_SECONDS)
    return caught.value


@pytest.mark.parametrize(
    ("failure", "code", "moved"),
    [
        (Failure.UNAVAILABLE_BEFORE, grpc.StatusCode.UNAVAILABLE, 0),
        (Failure.UNAVAILABLE_AFTER, grpc.StatusCode.UNAVAILABLE, 7),
        (Failure.LANE_FULL, grpc.StatusCode.RESOURCE_EXHAUSTED, 0),
        (Failure.INTERNAL, grpc.StatusCode.INTERNAL, 0),
    ],
)
def test_a_call_fails_once(
    fake_ledger: FakeLedger,
    fake_tenant: str,
    client: BlockingLedgerClient,
    failure: Failure,
    code: grpc.StatusCode,
    moved: int,
) -> None:
    """The next call of the method meets the failure, with or without its effect; the one after does not."""
    error: Any = once(fake_ledger, fake_tenant, failure)

    assert error.code() is code
    assert available(client) == 100 + moved
    answer = client.postings.post_transaction(paying(7), key="once")
    assert answer.replayed == bool(moved)
    assert available(client) == 107


@pytest.mark.parametrize(
    "failure", [Failure.UNAVAILABLE_BEFORE, Failure.UNAVAILABLE_AFTER, Failure.LANE_FULL]
)
def test_a_client_gets_over_it(
    fake_ledger: FakeLedger, client: BlockingLedgerClient, failure: Failure
) -> None:
    """What may be tried again is tried again, and done once."""
    fake_ledger.fail_next(failure, times=3)

    answer = client.postings.post_transaction(paying(7))

    assert answer.replayed == (failure is Failure.UNAVAILABLE_AFTER)
    assert available(client) == 107


def test_a_refusal_that_got_lost_is_still_the_answer(
    fake_ledger: FakeLedger, client: BlockingLedgerClient
) -> None:
    """A lost refusal is told by the next try."""
    fake_ledger.fail_next(Failure.UNAVAILABLE_AFTER, method="PostTransaction")
    request = posting_pb2.PostTransactionRequest(transaction=transfer(WALLET, "house", 101))

    with pytest.raises(LedgerError) as refused:
        client.postings.post_transaction(request)

    assert refused.value.reason == "INSUFFICIENT_FUNDS"
    assert refused.value.replayed


def test_other_methods_and_later_tests_are_spared(
    fake_ledger: FakeLedger, client: BlockingLedgerClient
) -> None:
    """A failure waits for its method, and is forgotten by a reset."""
    fake_ledger.fail_next(Failure.INTERNAL, method="defter.ledger.v1.PostingService/PostTransaction")
    assert available(client) == 100

    fake_ledger.reset()

    client.postings.post_transaction(paying(1))
    assert available(client) == 101


def test_a_call_that_takes_too_long_does_nothing(
    fake_ledger: FakeLedger, client: BlockingLedgerClient
) -> None:
    """Who gives up during a delay has not posted."""
    fake_ledger.fail_next(Failure.DELAY, method="PostTransaction", delay_seconds=10 * HANG_SECONDS)

    with pytest.raises(LedgerError) as refused:
        client.postings.post_transaction(paying(7), timeout=0.2)

    assert refused.value.outcome_unknown
    assert available(client) == 100


async def test_cut_streams_are_taken_up_again(fake_ledger: FakeLedger, fake_tenant: str) -> None:
    """A watch that is cut while it waits goes on without a gap, and has been told of the break."""
    breaks: list[Exception] = []
    async with LedgerClient(fake_ledger.target, tenant=fake_tenant) as client, asyncio.timeout(HANG_SECONDS):
        watch = client.watch(verify=True, on_break=breaks.append)
        # The tenant, and the name of the database's history.
        opened = account_pb2.OpenAccountRequest(account=new_account("house", kind=ASSET))
        await client.accounts.open_account(opened)
        seen = [(await anext(watch)).sequence for _ in range(3)]
        await asyncio.to_thread(fake_ledger.cut_streams)
        opened.account.account_id = "other"
        await client.accounts.open_account(opened)
        seen.append((await anext(watch)).sequence)
        watch.close()

    assert seen == [1, 2, 3, 4]
    assert len(breaks) == 1


def test_holds_expire_when_the_clock_moves(fake_ledger: FakeLedger, client: BlockingLedgerClient) -> None:
    """The moment a hold is due its money is free, and the journal says so."""
    request = hold_pb2.PlaceHoldRequest(
        debit_account_id=WALLET, credit_account_id="house", amount_minor=60, currency_code="EUR", type=BET
    )
    request.time_to_live.FromSeconds(3_600)
    placed = client.holds.place_hold(request).response.hold

    fake_ledger.advance(timedelta(seconds=3_599))
    assert available(client) == 40
    fake_ledger.advance(timedelta(seconds=1))

    assert available(client) == 100
    newest = list(client.journal.list_journal(journal_pb2.ListJournalRequest()))[-1].record
    assert newest.hold_expired.hold.hold_id == placed.hold_id
    assert newest.record_time.ToDatetime(fake_ledger.now.tzinfo) == fake_ledger.now


async def test_holds_expire_by_a_clock_that_goes_on_by_itself() -> None:
    """Nobody moves the clock of another process, and the journal tells of the end all the same."""
    moment, ended = START, ""
    with FakeLedger(clock=lambda: moment) as fake:
        async with (
            LedgerClient(fake.target, tenant=fake.new_tenant()) as client,
            asyncio.timeout(HANG_SECONDS),
        ):
            for account_id in ("house", "other"):
                opened = new_account(account_id, kind=ASSET)
                await client.accounts.open_account(account_pb2.OpenAccountRequest(account=opened))
            request = hold_pb2.PlaceHoldRequest(
                debit_account_id="house",
                credit_account_id="other",
                amount_minor=5,
                currency_code="EUR",
                type=BET,
            )
            request.time_to_live.FromSeconds(60)
            placed = await client.holds.place_hold(request)
            moment += timedelta(seconds=60)
            async for entry in client.watch():
                if entry.record.HasField("hold_expired"):
                    ended = entry.record.hold_expired.hold.hold_id
                    break

    assert ended == placed.response.hold.hold_id


def deposit(client: BlockingLedgerClient, amount: int = 500) -> str:
    """Begin a deposit of bob's, and return its id."""
    request = deposit_pb2.InitiateDepositRequest(
        player_id="bob", provider="mock", amount_minor=amount, currency_code="EUR"
    )
    return client.deposits.initiate_deposit(request).response.deposit.deposit_id


def deposit_state(client: BlockingLedgerClient, deposit_id: str) -> str:
    """Return the state of a deposit."""
    found = client.deposits.get_deposit(deposit_pb2.GetDepositRequest(deposit_id=deposit_id)).deposit
    return payment_pb2.DepositState.Name(found.state).removeprefix("DEPOSIT_STATE_")


def posted(client: BlockingLedgerClient) -> int:
    """Return what bob has."""
    wallet = client.wallets.get_wallet(wallet_pb2.GetWalletRequest(player_id="bob")).wallet
    return sum(balance.real.posted_minor for balance in wallet.balances)


@pytest.mark.parametrize(
    ("fate", "state", "money"),
    [
        (Fate.SUCCEEDS, "CAPTURED", 500),
        (Fate.FAILS, "FAILED", 0),
        (Fate.DECLINED, "FAILED", 0),
        (Fate.SILENT, "INITIATED", 0),
    ],
)
def test_fates_of_a_deposit(
    fake_ledger: FakeLedger, client: BlockingLedgerClient, fate: Fate, state: str, money: int
) -> None:
    """The next deposit ends as the test has said, the one after is captured."""
    fake_ledger.provider.next_deposit(fate)
    first, second = deposit(client), deposit(client)
    fake_ledger.settle()

    assert deposit_state(client, first) == state
    assert deposit_state(client, second) == "CAPTURED"
    assert posted(client) == money + 500


def test_a_late_deposit_told_twice_is_booked_once(
    fake_ledger: FakeLedger, client: BlockingLedgerClient
) -> None:
    """News comes when the clock has moved far enough, and its duplicate moves nothing."""
    fake_ledger.provider.next_deposit(late=timedelta(days=1), deliveries=2)
    begun = deposit(client)
    fake_ledger.settle()
    assert deposit_state(client, begun) == "INITIATED"

    fake_ledger.advance(timedelta(days=1))

    assert deposit_state(client, begun) == "CAPTURED"
    assert posted(client) == 500


@pytest.mark.parametrize(
    ("fate", "state", "left"),
    [
        (Fate.SUCCEEDS, "PAID", 300),
        (Fate.FAILS, "FAILED", 500),
        (Fate.DECLINED, "FAILED", 500),
        (Fate.SILENT, "APPROVED", 500),
    ],
)
def test_fates_of_a_withdrawal(
    fake_ledger: FakeLedger, client: BlockingLedgerClient, fate: Fate, state: str, left: int
) -> None:
    """A withdrawal that was let pass ends as the test has said."""
    deposit(client)
    fake_ledger.settle()
    fake_ledger.provider.next_withdrawal(fate)
    request = withdrawal_pb2.RequestWithdrawalRequest(
        player_id="bob", provider="mock", amount_minor=200, currency_code="EUR", destination="bank"
    )
    withdrawal_id = client.withdrawals.request_withdrawal(request).response.withdrawal.withdrawal_id
    approval = withdrawal_pb2.ApproveWithdrawalRequest(withdrawal_id=withdrawal_id, reviewer="ada")
    client.withdrawals.approve_withdrawal(approval)
    fake_ledger.settle()

    wanted = withdrawal_pb2.GetWithdrawalRequest(withdrawal_id=withdrawal_id)
    found = client.withdrawals.get_withdrawal(wanted).withdrawal
    assert payment_pb2.WithdrawalState.Name(found.state) == f"WITHDRAWAL_STATE_{state}"
    assert posted(client) == left


@pytest.mark.parametrize(("fate", "left"), [(Fate.SUCCEEDS, 380), (Fate.FAILS, 500)])
def test_fates_of_a_refund(
    fake_ledger: FakeLedger, client: BlockingLedgerClient, fate: Fate, left: int
) -> None:
    """A refund takes money back, or gives it up again."""
    deposit_id = deposit(client)
    fake_ledger.settle()
    fake_ledger.provider.next_refund(fate)

    client.deposits.refund_deposit(deposit_pb2.RefundDepositRequest(deposit_id=deposit_id, amount_minor=120))
    fake_ledger.settle()

    assert posted(client) == left
