"""Own confirming batches: what was paid out moves from clearing to the bank once, whatever else happens."""

from __future__ import annotations

import asyncio
from datetime import datetime

import pytest
from defter.ledger.v1 import account_pb2
from defter.reconciliation.v1 import reconciliation_pb2
from defter.reconciliation.v1.reconciliation_pb2_grpc import ReconciliationServiceStub

from ledger_server.domain.ledger.accounts import AccountKind
from ledger_server.engine.reconciliation.settlements import Settlements
from tests.integration.payments.test_older_accounts import open_older
from tests.support.clock import FakeClock
from tests.support.coherence import assert_ledger_coherent, assert_tables_coherent
from tests.support.fake_provider import PROVIDER, fake_providers
from tests.support.requests import ASSET, timestamp, transfer
from tests.support.service import Service, serving
from tests.support.settlement import (
    ADYEN,
    BALANCED,
    CONFIRMED,
    IN_PROGRESS,
    UNBALANCED,
    Rows,
    Settler,
    charge,
    paid,
    stripe_file,
)
from tests.support.wire import refusal
from tests.unit.reconciliation.files import sample

KEY = "settlement:mock:po_1:EUR"
CLEARING = "psp:mock:clearing:EUR"
BANK = "bank:main:EUR"


async def assert_sound(settler: Settler, database_url: str) -> None:
    """Check the tables, the journal, and what callers are told."""
    await assert_tables_coherent(database_url, settler.ledger.tenant_id)
    await assert_ledger_coherent(settler.ledger)
    assert not (await settler.ledger.verify()).HasField("first_difference")


async def test_confirm_moves_what_was_paid_out_to_the_bank(settler: Settler, database_url: str) -> None:
    """Both accounts are opened where they are missing; the transaction says what and who."""
    await settler.send(stripe_file([charge(1_000, 30), paid(970)]))
    batch = (await settler.confirm()).response.batch

    assert batch.state == CONFIRMED
    posted = (await settler.ledger.transaction(batch.transaction_id)).transaction
    assert posted.type == account_pb2.TRANSACTION_TYPE_TRANSFER
    assert (posted.reference, posted.effective_time) == ("po_1", batch.paid_out_time)
    assert dict(posted.metadata) == {"batch": "po_1", "provider": PROVIDER, "actor": "eve"}
    assert (await settler.ledger.posted(BANK), await settler.ledger.posted(CLEARING)) == (970, -970)
    assert await settler.batch() == batch
    await assert_sound(settler, database_url)


async def test_confirm_again_is_replayed(settler: Settler, database_url: str) -> None:
    """The same request has the same answer; another bank or actor is another request under the same key."""
    await settler.send(stripe_file([charge(100), paid(100)]))
    first = await settler.confirm()
    head = await settler.ledger.head()
    second = await settler.confirm()

    assert (first.replayed, second.replayed) == (False, True)
    assert second.response == first.response
    for other in (settler.confirm(bank="other"), settler.confirm(actor="adam")):
        refused = await refusal(other)
        assert (refused.reason, refused.metadata["idempotency_key"]) == ("IDEMPOTENCY_KEY_REUSED", KEY)
    assert await settler.ledger.head() == head
    await assert_sound(settler, database_url)


async def test_confirm_negative_batch_moves_money_back(settler: Settler, database_url: str) -> None:
    """What the provider has debited goes from the bank to clearing."""
    refund = "txn_r,2030-01-01 00:00:00,eur,-3.00,0.00,-3.00,refund,re_1,po_1,pi_1"
    await settler.send(stripe_file([refund, paid(-300)]))
    assert (await settler.confirm()).response.batch.state == CONFIRMED
    assert (await settler.ledger.posted(BANK), await settler.ledger.posted(CLEARING)) == (-300, 300)
    assert (await settler.confirm()).replayed
    await assert_sound(settler, database_url)


async def test_confirm_empty_payout_posts_nothing(settler: Settler) -> None:
    """Nothing was paid out, so nothing moves."""
    await settler.send(stripe_file([charge(100), charge(0, 100), paid(0)]))
    head = await settler.ledger.head()
    batch = (await settler.confirm()).response.batch
    assert (batch.state, batch.transaction_id) == (CONFIRMED, "")
    assert (await settler.confirm()).replayed
    assert await settler.ledger.head() == head


async def test_confirm_adyen_batch(settler: Settler) -> None:
    """A batch number is a batch's id as good as any."""
    await settler.send(sample("adyen_settlement_details.csv"), ADYEN)
    assert (await settler.confirm("213")).response.batch.state == CONFIRMED
    refused = await refusal(settler.confirm("214"))
    assert (refused.reason, refused.metadata) == (
        "SETTLEMENT_BATCH_NOT_BALANCED",
        {"batch_id": "214", "difference_minor": "0"},
    )


@pytest.mark.parametrize("count", [2, 8])
async def test_confirm_at_once_from_two_servers_moves_once(
    settler: Settler, server: Service, database_url: str, clock: FakeClock, count: int
) -> None:
    """Whoever comes second is told of the same transaction."""
    await settler.send(stripe_file([charge(100), paid(100)]))
    async with serving(database_url, clock=clock, providers=fake_providers()) as second:
        answers = await asyncio.gather(
            *(
                Settler(service.ledger(key_prefix=f"k{number}")).confirm()
                for number in range(count)
                for service in (server, second)
            )
        )
    assert len({answer.response.batch.transaction_id for answer in answers}) == 1
    assert {answer.response.batch.state for answer in answers} == {CONFIRMED}
    assert sum(not answer.replayed for answer in answers) == 1
    assert await settler.ledger.posted(BANK) == 100
    assert len(await settler.ledger.records("transaction_posted")) == 1
    await assert_sound(settler, database_url)


async def test_confirm_with_closed_bank_leaves_the_key_unused(settler: Settler) -> None:
    """A refusal would be the final outcome of the batch's only key, so it is not asked for one."""
    await settler.send(stripe_file([charge(100), paid(100)]))
    await settler.ledger.open(BANK, kind=ASSET)
    await settler.ledger.close(BANK)
    assert (await refusal(settler.confirm())).reason == "ACCOUNT_CLOSED"
    assert (await settler.confirm(bank="other")).response.batch.state == CONFIRMED


@pytest.mark.parametrize(
    ("kind", "currency", "reason"),
    [
        (AccountKind.ASSET, "USD", "CURRENCY_MISMATCH"),
        *[(kind, "EUR", "ACCOUNT_KIND_MISMATCH") for kind in AccountKind if kind is not AccountKind.ASSET],
    ],
)
async def test_confirm_with_a_bank_account_that_is_none_is_refused(
    server: Service, settler: Settler, kind: AccountKind, currency: str, reason: str
) -> None:
    """An account's name does not make its kind and currency, where it is older than the reserved names."""
    await settler.send(stripe_file([charge(100), paid(100)]))
    await open_older(server, BANK, kind, currency)
    assert (await refusal(settler.confirm())).reason == reason
    assert (await settler.batch()).state == BALANCED


async def test_confirm_under_a_key_that_was_used_for_something_else_is_refused(settler: Settler) -> None:
    """A transaction that is not the batch's own is not taken for it."""
    await settler.send(stripe_file([charge(100), paid(100)]))
    await settler.ledger.open("ann")
    await settler.ledger.submit(transfer("house", "ann", 100), key=KEY)
    assert (await refusal(settler.confirm())).reason == "IDEMPOTENCY_KEY_REUSED"
    assert (await settler.batch()).state == BALANCED


def die_before_marking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lose the database when a batch should be marked."""

    async def die(*_: object) -> None:
        raise ConnectionResetError

    monkeypatch.setattr(Settlements, "set_moved", die)


async def test_crash_after_posting_is_completed_by_calling_again(
    settler: Settler, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transaction is found by its key, and the batch is marked with it."""
    await settler.send(stripe_file([charge(100), paid(100)]))
    with monkeypatch.context() as patch:
        die_before_marking(patch)
        assert (await refusal(settler.confirm())).reason == "STORE_UNAVAILABLE"
    assert (await settler.batch()).state == BALANCED

    answer = await settler.confirm()
    assert (answer.response.batch.state, answer.replayed) == (CONFIRMED, True)
    assert await settler.ledger.posted(BANK) == 100
    await assert_sound(settler, database_url)


async def test_crash_after_posting_then_new_line_still_finds_the_transaction(
    settler: Settler, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was moved is known, although the batch is no longer what was confirmed."""
    await settler.send(stripe_file([charge(100), paid(100)]))
    with monkeypatch.context() as patch:
        die_before_marking(patch)
        await refusal(settler.confirm())
    await settler.send(stripe_file([charge(20), paid(20, name="more")]))
    assert (await settler.batch()).state == BALANCED

    assert (await refusal(settler.confirm())).reason == "SETTLEMENT_BATCH_NOT_BALANCED"
    batch = await settler.batch()
    assert (batch.state, batch.transaction_id != "") == (UNBALANCED, True)
    assert await settler.ledger.posted(BANK) == 100
    assert await rows.mismatches() == {"po_1": "OPEN"}


async def test_new_line_of_a_confirmed_batch_opens_a_finding(settler: Settler, rows: Rows) -> None:
    """The transaction stays; when the batch adds up to what was moved again, it is confirmed again."""
    await settler.send(stripe_file([charge(100), paid(100)]))
    confirmed = (await settler.confirm()).response.batch
    await settler.send(stripe_file([charge(7)]))

    batch = await settler.batch()
    assert (batch.state, batch.difference_minor) == (UNBALANCED, -7)
    assert batch.transaction_id == confirmed.transaction_id
    assert await rows.mismatches() == {"po_1": "OPEN"}
    assert (await refusal(settler.confirm())).reason == "SETTLEMENT_BATCH_NOT_BALANCED"
    await settler.send(stripe_file([charge(-7)]))
    assert (await settler.batch()).state == CONFIRMED
    assert await rows.mismatches() == {"po_1": "AUTO_RESOLVED"}
    assert (await settler.confirm()).replayed


async def test_other_payout_of_a_confirmed_batch_opens_a_finding(settler: Settler, rows: Rows) -> None:
    """Lines and pay-out agree, and still it is not what was moved."""
    await settler.send(stripe_file([charge(100), paid(100)]))
    await settler.confirm()
    await settler.send(stripe_file([charge(20), paid(20, name="more")]))
    batch = await settler.batch()
    assert (batch.state, batch.paid_out_minor, batch.difference_minor) == (UNBALANCED, 120, 0)
    assert await rows.mismatches() == {"po_1": "OPEN"}


async def test_batch_in_progress_is_not_confirmed(settler: Settler) -> None:
    """Nobody knows yet what was paid out."""
    await settler.send(stripe_file([charge(100)]))
    assert (await settler.batch()).state == IN_PROGRESS
    assert (await refusal(settler.confirm())).reason == "SETTLEMENT_BATCH_NOT_BALANCED"


@pytest.mark.parametrize(
    ("name", "report_format", "batch"),
    [("stripe_payout_reconciliation.csv", 1, "po_1Qx8A2"), ("adyen_settlement_details.csv", 3, "213")],
)
async def test_run_matches_the_settlement_of_a_confirmed_batch(
    settler: Settler, rows: Rows, name: str, report_format: int, batch: str
) -> None:
    """Before it is confirmed the pay-out is missing in the ledger; afterwards it is matched."""
    await settler.send(sample(name), report_format)  # type: ignore[arg-type]
    await reconcile(settler, "before")
    assert await settlement_verdict(rows, batch) == 4
    await settler.confirm(batch)
    await reconcile(settler, "after")
    assert await settlement_verdict(rows, batch) == 2
    # The same file again leaves what the run has made of its records.
    await settler.send(sample(name), report_format)  # type: ignore[arg-type]
    assert await settlement_verdict(rows, batch) == 2


async def reconcile(settler: Settler, key: str) -> None:
    """Run a reconciliation over the time of the samples to its end."""
    request = reconciliation_pb2.RunReconciliationRequest(
        tenant_id=settler.ledger.tenant_id,
        provider=PROVIDER,
        idempotency_key=key,
        from_time=timestamp(datetime.fromisoformat("2026-09-01T00:00:00+00:00")),
        to_time=timestamp(datetime.fromisoformat("2026-12-01T00:00:00+00:00")),
    )
    states = [
        each.run.state
        async for each in ReconciliationServiceStub(settler.ledger.channel).RunReconciliation(request)
    ]
    assert states[-1] == reconciliation_pb2.RUN_STATE_COMPLETE


async def settlement_verdict(rows: Rows, batch: str) -> int:
    """Return what the last run has made of a batch's pay-out."""
    [row] = await rows.fetch(
        f"SELECT verdict FROM provider_records WHERE tenant_key = $1 AND kind = 6 AND batch = '{batch}'"
    )
    return int(row["verdict"])
