"""Own the proof that a commit writes the same, however large it is: by one statement, or by COPY beyond."""

from __future__ import annotations

import pytest
from defter.ledger.v1 import account_pb2, posting_pb2

from ledger_server.store import lane_writes
from ledger_server.store.lane_writes import ONE_STATEMENT
from tests.support.clock import FakeClock
from tests.support.coherence import assert_ledger_coherent, assert_tables_coherent
from tests.support.ledger import Ledger
from tests.support.requests import CREDIT, DEBIT, item, leg, timestamp, transaction
from tests.support.service import serving

# What means something to array literals, to COPY's text form or to SQL; and nothing at all.
REFERENCES = ("", "NULL", '{"a",b}', "back\\slash", "\\N", "it's; --", "tab\tline\nend", "žluťoučký ₿ 🎲")


def items_of(ledger: Ledger, clock: FakeClock, count: int) -> list[posting_pb2.PostTransactionItem]:
    """Return transactions, each different from the one before it; every seventh will be refused."""
    return [
        item(
            ledger.new_key(),
            transaction(
                leg("nobody" if number % 7 == 6 else "house", DEBIT, number + 1),
                leg("ann", CREDIT, number + 1),
                reference=REFERENCES[number % len(REFERENCES)],
                metadata={"of": REFERENCES[number % len(REFERENCES)]} if number % 2 else None,
                effective_time=timestamp(clock.now) if number % 3 else None,
            ),
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("count", [ONE_STATEMENT, ONE_STATEMENT + 1, 1_000])
async def test_commit_of_any_size_keeps_what_was_asked_for(
    database_url: str, ledger: Ledger, clock: FakeClock, count: int
) -> None:
    """Text that means something to PostgreSQL comes back as it was, and so does the absence of any."""
    await ledger.open("ann")
    before = await ledger.head()
    items = items_of(ledger, clock, count)

    results = await ledger.batch(*items)

    assert await ledger.head() == before + count
    for wanted, result in zip(items, results, strict=True):
        refused = any(posting.account_id == "nobody" for posting in wanted.transaction.postings)
        assert result.HasField("rejection") == refused
        if not refused:
            posted = (await ledger.transaction(result.transaction.transaction_id)).transaction
            assert posted == result.transaction
            assert (posted.reference, posted.metadata) == (
                wanted.transaction.reference,
                wanted.transaction.metadata,
            )
    for reference in filter(None, REFERENCES):
        assert await listed(ledger, reference) == [
            result.transaction for result in results if result.transaction.reference == reference
        ]
    await assert_tables_coherent(database_url, ledger.tenant_id)
    await assert_ledger_coherent(ledger)


@pytest.mark.parametrize("count", [ONE_STATEMENT, ONE_STATEMENT + 1])
async def test_commit_of_any_size_tried_again_elsewhere_has_one_effect(
    database_url: str, ledger: Ledger, clock: FakeClock, count: int
) -> None:
    """Another process believes the head to be where it was, and finds its keys taken."""
    await ledger.open("ann")
    async with serving(database_url, clock=clock) as other:
        elsewhere = ledger.over(other.channel, key_prefix="elsewhere")
        await elsewhere.post("house", "ann", 1)  # now it knows a head
        items = items_of(ledger, clock, count)
        first = await ledger.batch(*items)
        head = await ledger.head()

        again = await elsewhere.batch(*items)

        assert await ledger.head() == head
    for result, replayed in zip(first, again, strict=True):
        assert replayed.replayed
        assert (replayed.transaction, replayed.rejection) == (result.transaction, result.rejection)
    await assert_ledger_coherent(ledger)


@pytest.mark.parametrize("count", [ONE_STATEMENT, ONE_STATEMENT + 1])
async def test_accounts_of_a_commit_of_any_size_are_kept_as_they_were_opened(
    database_url: str, ledger: Ledger, count: int
) -> None:
    """With their texts and limits, or without; those that are refused open nothing."""
    items = [
        account_pb2.BatchOpenAccountsItem(
            idempotency_key=ledger.new_key(),
            account=account_pb2.NewAccount(
                # Every seventh is there already.
                account_id=f"a{number - 1 if number % 7 == 6 else number}",
                kind=account_pb2.ACCOUNT_KIND_LIABILITY if number % 5 else account_pb2.ACCOUNT_KIND_ASSET,
                currency_code="EUR" if number % 3 else "JPY",
                limits=account_pb2.AccountLimits(max_balance_minor=number) if number % 4 else None,
                metadata={"of": REFERENCES[number % len(REFERENCES)]} if number % 2 else None,
            ),
        )
        for number in range(count)
    ]
    request = account_pb2.BatchOpenAccountsRequest(
        tenant_id=ledger.tenant_id, mode=account_pb2.BATCH_MODE_INDEPENDENT, items=items
    )

    results = (await ledger.stubs.accounts.BatchOpenAccounts(request)).results

    assert [number for number, each in enumerate(results) if each.HasField("rejection")] == [
        *range(6, count, 7)
    ]
    opened = {each.account.account_id: each.account for each in results if each.HasField("account")}
    there = {each.account.account_id: each.account for each in await ledger.accounts()}
    assert {name: there[name] for name in opened} == opened
    wanted = {each.account.account_id: each.account for each in reversed(items)}
    assert {name: each.metadata for name, each in opened.items()} == {
        name: each.metadata for name, each in wanted.items()
    }
    await assert_tables_coherent(database_url, ledger.tenant_id)
    await assert_ledger_coherent(ledger)


async def test_what_a_large_commit_has_made_a_later_one_changes(
    database_url: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accounts and holds are written by COPY once, and again whenever they change."""
    monkeypatch.setattr(lane_writes, "ONE_STATEMENT", 0)  # every commit is a large one
    await ledger.open("ann", bounds=account_pb2.AccountLimits(max_balance_minor=1_000))
    await ledger.fund("ann", 500)
    hold = await ledger.place_hold("ann", "house", 300)

    await ledger.increase(hold.hold_id, 50)
    await ledger.capture(hold.hold_id, 100, final=False)
    await ledger.release(hold.hold_id)
    await ledger.set_limits("ann", account_pb2.AccountLimits(max_balance_minor=2_000))
    await ledger.freeze("ann")

    assert (await ledger.hold(hold.hold_id)).captured_minor == 100
    assert (await ledger.account("ann")).account.state == account_pb2.ACCOUNT_STATE_FROZEN
    await assert_tables_coherent(database_url, ledger.tenant_id)
    await assert_ledger_coherent(ledger)


async def listed(ledger: Ledger, reference: str) -> list[posting_pb2.Transaction]:
    """Return the transactions with a reference, as the index finds them."""
    request = posting_pb2.ListTransactionsRequest(
        tenant_id=ledger.tenant_id, reference=reference, page_size=1_000
    )
    return list((await ledger.stubs.postings.ListTransactions(request)).transactions)
