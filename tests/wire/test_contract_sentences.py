"""Own sentences of the contract that callers were surprised by: each is said where they look, and is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from defter.ledger.v1 import account_pb2

from tests.support.clock import FakeClock
from tests.support.ledger import Ledger
from tests.support.requests import (
    CREDIT,
    DEBIT,
    item,
    leg,
    limits,
    transaction,
    transfer,
)
from tests.support.wire import refusal, reply

ATOMIC = account_pb2.BATCH_MODE_ATOMIC
PROTOS = Path(__file__).parents[2] / "protos"
PLAYERS_OWN = {"InitiateDepositRequest", "RequestWithdrawalRequest"}
NEW_TENANTS = {"CreateTenantRequest"}


def test_every_key_of_a_request_says_its_scope() -> None:
    """A key is the tenant's, the RPC's, and of two RPCs the player's own."""
    said = {}
    for path in PROTOS.rglob("*.proto"):
        for name, body in re.findall(
            r"^message (\w+Request) \{\n(.*?)^\}", path.read_text(), flags=re.MULTILINE | re.DOTALL
        ):
            comment = re.search(r"((?:  //[^\n]*\n)+)  string idempotency_key", body)
            if comment is not None:
                said[name] = " ".join(comment[1].replace("//", " ").split())
    del said["GetOutcomeRequest"]  # names the scope in fields of its own
    del said["RecordRequest"]  # likewise
    assert len(said) > 25
    for name, text in said.items():
        scope = "tenant and RPC"
        if name in PLAYERS_OWN:
            scope = "tenant, RPC and player"
        elif name in NEW_TENANTS:
            scope = "the new tenant's id and RPC"
        assert f"scoped by {scope}" in text, name


@pytest.mark.parametrize(
    ("minimum", "maximum", "debited", "credited", "reason"),
    [
        # A credit of 60 fits twice on its own, but 120 don't fit.
        (None, 100, (), (60, 60), "BALANCE_LIMIT_EXCEEDED"),
        (None, 100, (), (50, 50), ""),
        (None, 100, (), (1, 98, 1), ""),
        (None, 100, (), (1, 99, 1), "BALANCE_LIMIT_EXCEEDED"),
        (-100, None, (60, 60), (), "INSUFFICIENT_FUNDS"),
        (-100, None, (50, 50), (), ""),
        (-100, None, (1, 99, 1), (), "INSUFFICIENT_FUNDS"),
    ],
)
async def test_limits_bind_what_a_transaction_changes_in_all(
    ledger: Ledger,
    minimum: int | None,
    maximum: int | None,
    debited: tuple[int, ...],
    credited: tuple[int, ...],
    reason: str,
) -> None:
    """Several postings of a transaction on one account are one change for its limits."""
    await ledger.open("ann", bounds=limits(minimum=minimum, maximum=maximum))
    legs = [leg("ann", DEBIT, amount) for amount in debited] + [
        leg("ann", CREDIT, amount) for amount in credited
    ]
    change = sum(credited) - sum(debited)
    other = leg("house", CREDIT if change < 0 else DEBIT, abs(change))

    if not reason:
        await ledger.submit(transaction(*legs, other))
        assert await ledger.posted("ann") == change
        return
    refused = await refusal(ledger.submit(transaction(*legs, other)))

    assert (refused.reason, refused.metadata["change_minor"]) == (reason, str(change))


async def test_refused_atomic_batch_uses_up_the_key_of_the_refused_item_alone(ledger: Ledger) -> None:
    """The cause was undone with the batch, and the refusal stays; the other items' keys are unused."""
    await ledger.open("ann")
    await ledger.fund("ann", 10)
    items = [
        item("spends-it", transfer("ann", "house", 10)),
        item("has-nothing-left", transfer("ann", "house", 5)),
        item("never-looked-at", transfer("ann", "house", 1)),
    ]

    batch = await refusal(ledger.batch(*items, mode=ATOMIC))
    guilty = await refusal(ledger.submit(items[1].transaction, key="has-nothing-left"))
    again = await refusal(ledger.batch(*items, mode=ATOMIC))
    items[1].idempotency_key = "another"
    items[0].transaction.CopyFrom(transfer("ann", "house", 4))
    posted = await ledger.batch(*items, mode=ATOMIC)

    assert (batch.reason, batch.metadata["index"]) == ("INSUFFICIENT_FUNDS", "1")
    assert (guilty.reason, guilty.replayed) == ("INSUFFICIENT_FUNDS", True)
    assert (again.reason, again.metadata["index"]) == ("INSUFFICIENT_FUNDS", "1")
    assert [each.replayed for each in posted] == [False, False, False]
    assert await ledger.posted("ann") == 0


async def test_ids_do_not_sort_as_text_and_lists_are_in_order(ledger: Ledger) -> None:
    """The number at the end of an id grows in digits."""
    await ledger.open("ann")
    posted = [await ledger.post("house", "ann", 1) for _ in range(12)]
    ids = [each.transaction_id for each in posted]

    listed = [
        each.record.transaction_posted.transaction_id
        for each in await ledger.entries()
        if each.record.HasField("transaction_posted")
    ]

    assert sorted(posted, key=lambda each: each.sequence) == posted
    assert listed == ids
    assert sorted(ids) != ids


@pytest.mark.parametrize("years", [1, 50])
async def test_decided_key_is_kept_for_ever(ledger: Ledger, clock: FakeClock, years: int) -> None:
    """However late a retry comes, success and refusal are what they were."""
    await ledger.open("ann")
    first = await reply(
        ledger.stubs.postings.PostTransaction(ledger.post_request(transfer("house", "ann", 1), key="a"))
    )
    refused = await refusal(ledger.post("ann", "house", 5, key="b"))

    clock.advance(seconds=years * 365 * 86_400)
    await ledger.fund("ann", 100)
    later = await reply(
        ledger.stubs.postings.PostTransaction(ledger.post_request(transfer("house", "ann", 1), key="a"))
    )
    still = await refusal(ledger.post("ann", "house", 5, key="b"))

    assert (later.replayed, later.response) == (True, first.response)
    assert (still.replayed, still.reason) == (True, refused.reason)
    assert (await ledger.outcome("PostTransaction", "a")).record.HasField("transaction_posted")
