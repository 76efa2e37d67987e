"""Own what the two batch modes promise."""

from __future__ import annotations

import grpc
import pytest
import pytest_asyncio
from defter.ledger.v1 import account_pb2, error_pb2

from tests.support.coherence import assert_ledger_coherent
from tests.support.ledger import Ledger
from tests.support.requests import (
    CREDIT,
    DEBIT,
    item,
    leg,
    limits,
    new_account,
    recorded_limits,
    transaction,
    transfer,
)
from tests.support.wire import MIB, refusal

ATOMIC = account_pb2.BATCH_MODE_ATOMIC
INDEPENDENT = account_pb2.BATCH_MODE_INDEPENDENT


@pytest_asyncio.fixture(loop_scope="session")
async def funded(ledger: Ledger) -> Ledger:
    """A ledger with `ann`, who has 10, and `bob`, who has nothing."""
    await ledger.open("ann")
    await ledger.open("bob")
    await ledger.fund("ann", 10)
    return ledger


async def test_post_independent_batch_refuses_item_alone(funded: Ledger) -> None:
    """Each item is decided in its turn, against what the items before it left."""
    results = await funded.batch(
        funded.transfer_item("ann", "bob", 8),
        funded.transfer_item("ann", "bob", 8),
        funded.transfer_item("bob", "ann", 8),
        funded.transfer_item("ann", "bob", 10),
    )

    assert [result.WhichOneof("outcome") for result in results] == [
        "transaction",
        "rejection",
        "transaction",
        "transaction",
    ]
    assert results[1].rejection.reason == error_pb2.ERROR_REASON_INSUFFICIENT_FUNDS
    assert results[1].rejection.metadata["available_balance_minor"] == "2"
    assert await funded.posted("bob") == 10
    await assert_ledger_coherent(funded)


async def test_post_atomic_batch_takes_all(funded: Ledger) -> None:
    """Items build on each other; results come in their order, one record each."""
    results = await funded.batch(
        funded.transfer_item("ann", "bob", 10, key="first"),
        funded.transfer_item("bob", "ann", 7, key="second"),
        mode=ATOMIC,
    )

    assert [result.idempotency_key for result in results] == ["first", "second"]
    sequences = [result.transaction.sequence for result in results]
    assert sequences[1] == sequences[0] + 1
    assert not any(result.replayed for result in results)
    assert await funded.posted("ann") == 7


async def test_post_atomic_batch_with_refused_item_moves_nothing(funded: Ledger) -> None:
    """The call fails with the item's reason and place; only that refusal is recorded."""
    head = await funded.head()

    refused = await refusal(
        funded.batch(
            funded.transfer_item("ann", "bob", 6, key="a"),
            funded.transfer_item("ann", "bob", 6, key="b"),
            funded.transfer_item("bob", "ann", 1, key="c"),
            mode=ATOMIC,
        )
    )

    assert refused.reason == "INSUFFICIENT_FUNDS"
    assert refused.metadata["index"] == "1"
    assert refused.metadata["available_balance_minor"] == "4"
    assert not refused.replayed
    assert await funded.posted("ann") == 10
    assert await funded.head() == head + 1
    assert (await funded.outcome("PostTransaction", "b")).record.HasField("request_rejected")
    for unused in ("a", "c"):
        gone = await refusal(funded.outcome("PostTransaction", unused))
        assert gone.reason == "OUTCOME_NOT_FOUND"
    await assert_ledger_coherent(funded)


async def test_retry_refused_atomic_batch_replays_refusal(funded: Ledger) -> None:
    """Money that came meanwhile changes nothing: the refused item's key has its outcome."""
    items = [
        funded.transfer_item("ann", "bob", 6, key="a"),
        funded.transfer_item("ann", "bob", 6, key="b"),
    ]
    first = await refusal(funded.batch(*items, mode=ATOMIC))
    await funded.fund("ann", 100)
    head = await funded.head()

    second = await refusal(funded.batch(*items, mode=ATOMIC))

    assert (second.reason, second.metadata) == (first.reason, first.metadata)
    assert second.replayed
    assert await funded.head() == head


async def test_retry_atomic_batch_replays_all(funded: Ledger) -> None:
    """The retry of a batch that took effect is answered alike, item by item."""
    items = [funded.transfer_item("ann", "bob", 3), funded.transfer_item("bob", "ann", 1)]
    first = await funded.batch(*items, mode=ATOMIC)
    head = await funded.head()

    second = await funded.batch(*items, mode=ATOMIC)

    assert [one.transaction for one in second] == [one.transaction for one in first]
    assert all(one.replayed for one in second)
    assert await funded.head() == head


async def test_mix_old_and_new_items_in_atomic_batch_posts_the_new(funded: Ledger) -> None:
    """An item that has its outcome already is replayed; the others are decided."""
    old = funded.transfer_item("ann", "bob", 3)
    await funded.batch(old)

    results = await funded.batch(funded.transfer_item("ann", "bob", 2), old, mode=ATOMIC)

    assert [one.replayed for one in results] == [False, True]
    assert await funded.posted("bob") == 5


async def test_replay_item_in_atomic_batch_does_not_count_twice(funded: Ledger) -> None:
    """A later item is decided against what the replayed one left when it was posted, once."""
    old = funded.transfer_item("ann", "bob", 4)
    await funded.batch(old)

    results = await funded.batch(old, funded.transfer_item("ann", "bob", 6), mode=ATOMIC)

    assert [one.replayed for one in results] == [True, False]
    assert await funded.posted("ann") == 0


async def test_reuse_committed_key_in_atomic_batch_is_told_before_later_items(
    funded: Ledger,
) -> None:
    """The first item that is refused in the order of the items is the one that is reported."""
    await funded.batch(funded.transfer_item("ann", "bob", 4, key="old"))

    refused = await refusal(
        funded.batch(
            funded.transfer_item("ann", "bob", 5, key="old"),
            funded.transfer_item("ann", "nobody", 1, key="new"),
            mode=ATOMIC,
        )
    )

    assert refused.reason == "IDEMPOTENCY_KEY_REUSED"
    assert refused.metadata["index"] == "0"
    unused = await refusal(funded.outcome("PostTransaction", "new"))
    assert unused.reason == "OUTCOME_NOT_FOUND"


@pytest.mark.parametrize("mode", [ATOMIC, INDEPENDENT])
async def test_repeat_item_in_one_batch_replays_it(
    funded: Ledger, mode: account_pb2.BatchMode.ValueType
) -> None:
    """The second of two equal items is a retry of the first."""
    twin = funded.transfer_item("ann", "bob", 4)

    results = await funded.batch(twin, twin, mode=mode)

    assert [one.replayed for one in results] == [False, True]
    assert results[0].transaction == results[1].transaction
    assert await funded.posted("bob") == 4


async def test_reuse_key_within_independent_batch_refuses_second(funded: Ledger) -> None:
    """Two bodies under one key: the first is decided, the second is a reuse."""
    head = await funded.head()

    results = await funded.batch(
        funded.transfer_item("ann", "bob", 4, key="same"),
        funded.transfer_item("ann", "bob", 5, key="same"),
    )

    assert results[0].HasField("transaction")
    assert results[1].rejection.reason == error_pb2.ERROR_REASON_IDEMPOTENCY_KEY_REUSED
    assert await funded.head() == head + 1


async def test_reuse_key_within_atomic_batch_refuses_all(funded: Ledger) -> None:
    """A reuse leaves no trace, and neither does the batch around it."""
    head = await funded.head()

    refused = await refusal(
        funded.batch(
            funded.transfer_item("ann", "bob", 4, key="same"),
            funded.transfer_item("ann", "bob", 5, key="same"),
            mode=ATOMIC,
        )
    )

    assert refused.reason == "IDEMPOTENCY_KEY_REUSED"
    assert refused.metadata["index"] == "1"
    assert await funded.head() == head
    unused = await refusal(funded.outcome("PostTransaction", "same"))
    assert unused.reason == "OUTCOME_NOT_FOUND"


async def test_open_atomic_batch_with_taken_id_opens_nothing(ledger: Ledger) -> None:
    """Accounts are opened all or none, too."""
    request = account_pb2.BatchOpenAccountsRequest(
        tenant_id=ledger.tenant_id,
        mode=ATOMIC,
        items=[
            account_pb2.BatchOpenAccountsItem(idempotency_key=name, account=new_account(name))
            for name in ("ann", "house", "bob")
        ],
    )

    refused = await refusal(ledger.stubs.accounts.BatchOpenAccounts(request))

    assert refused.reason == "ACCOUNT_ALREADY_EXISTS"
    assert refused.metadata == {"account_id": "house", "index": "1"}
    assert [one.account.account_id for one in await ledger.accounts()] == ["house"]


async def test_open_batch_opens_accounts_as_open_account_does(ledger: Ledger) -> None:
    """Defaults and limits are the same by either RPC."""
    request = account_pb2.BatchOpenAccountsRequest(
        tenant_id=ledger.tenant_id,
        mode=INDEPENDENT,
        items=[
            account_pb2.BatchOpenAccountsItem(idempotency_key="a", account=new_account("ann")),
            account_pb2.BatchOpenAccountsItem(
                idempotency_key="b", account=new_account("bob", bounds=limits(maximum=5))
            ),
            account_pb2.BatchOpenAccountsItem(
                idempotency_key="c", account=new_account("cid", bounds=limits())
            ),
        ],
    )

    results = (await ledger.stubs.accounts.BatchOpenAccounts(request)).results

    assert [one.account.limits for one in results] == [
        recorded_limits(minimum=0),
        recorded_limits(maximum=5),
        recorded_limits(),
    ]
    assert (await ledger.account("ann")).account == results[0].account


async def test_post_to_account_opened_by_earlier_item_of_other_call(ledger: Ledger) -> None:
    """What one call has opened the next one uses, within one batch of the lane or not."""
    await ledger.open("ann")

    (result,) = await ledger.batch(item("k", transfer("house", "ann", 1)))

    assert result.transaction.postings[1].balance.posted_balance_minor == 1
    assert result.transaction.postings[1].balance.version == 1


@pytest.mark.parametrize("mode", [ATOMIC, INDEPENDENT])
async def test_batch_whose_answer_would_be_too_large_is_refused_whole(
    funded: Ledger, mode: account_pb2.BatchMode.ValueType
) -> None:
    """An answer that a client can't take in would leave him not knowing what was posted."""
    wide = [leg("ann", DEBIT, 1), leg("bob", CREDIT, 1)] * 50
    items = [item(funded.new_key(), transaction(*wide)) for _ in range(1_000)]
    request = funded.batch_request(*items, mode=mode)
    assert request.ByteSize() < 4 * MIB

    told = await refusal(funded.stubs.postings.BatchPostTransactions(request))

    assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MESSAGE_TOO_LARGE")
    unused = await refusal(funded.outcome("PostTransaction", items[0].idempotency_key))
    assert unused.reason == "OUTCOME_NOT_FOUND"


async def test_largest_batch_is_answered_to_a_client_with_default_settings(funded: Ledger) -> None:
    """As many postings as a batch may have, on accounts with the longest names, and the longest refusals."""
    rich, poor, other = "r" * 255, "p" * 255, "o" * 255
    await funded.open(rich)
    await funded.open(poor)
    await funded.open(other, bounds=limits())
    wide = [leg(other, DEBIT, 10**12), leg(rich, CREDIT, 10**12)] * 20
    good = [item(funded.new_key(), transaction(*wide)) for _ in range(200)]
    bad = [funded.transfer_item(poor, rich, 2**62) for _ in range(800)]
    results = await funded.batch(*good, *bad)

    answer = sum(result.ByteSize() for result in results)
    assert [result.WhichOneof("outcome") for result in results] == ["transaction"] * 200 + ["rejection"] * 800
    assert 3_000_000 < answer < 4 * MIB


async def test_batch_of_accounts_whose_answer_would_be_too_large_is_refused_whole(funded: Ledger) -> None:
    """The same goes for accounts with much metadata."""
    metadata = {f"{number:064}": "v" * 50 for number in range(32)}
    items = [
        account_pb2.BatchOpenAccountsItem(
            idempotency_key=funded.new_key(),
            account=new_account(f"account-{number}", metadata=metadata),
        )
        for number in range(1_000)
    ]
    request = account_pb2.BatchOpenAccountsRequest(tenant_id=funded.tenant_id, mode=INDEPENDENT, items=items)
    assert request.ByteSize() < 4 * MIB

    told = await refusal(funded.stubs.accounts.BatchOpenAccounts(request))

    assert told.reason == "MESSAGE_TOO_LARGE"
    unopened = await refusal(funded.account("account-0"))
    assert unopened.reason == "ACCOUNT_NOT_FOUND"
