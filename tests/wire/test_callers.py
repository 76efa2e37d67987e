"""On a guarded server the record of each change names its caller, whichever RPC it came by."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from defter.identity.v1 import caller_pb2
from defter.ledger.v1 import account_pb2, posting_pb2
from defter.payments.v1 import outbound_pb2, payment_pb2
from defter.reconciliation.v1 import finding_pb2, reconciliation_pb2, settlement_pb2
from defter.reconciliation.v1.settlement_pb2_grpc import SettlementServiceStub

from ledger_server.rpc.method_kinds import changes
from tests.integration.payments.test_older_accounts import until_applied
from tests.support.cashier import CAPTURED, Cashier
from tests.support.clock import START, FakeClock
from tests.support.every_rpc import rpcs_of
from tests.support.fake_provider import PROVIDER, fake_providers
from tests.support.findings import Desk
from tests.support.guarded import Guarded, guarding
from tests.support.ledger import Ledger
from tests.support.openings import Opener, line
from tests.support.postgres import run_sql
from tests.support.requests import item, new_account, timestamp, transfer
from tests.support.service import Service, serving
from tests.support.settlement import Settler, charge, paid, stripe_file
from tests.support.wire import Stubs, refusal
from tests.wire.test_replays import REJECTIONS, SUCCESSES, Mutation

CALLER = "spiffe://d/console"
FIRST = "spiffe://d/other-console"
# What the ledger does by itself while a caller asks for something else.
BY_ITSELF = {"hold_expired", "epoch_begun"}


@pytest.fixture
async def guarded(database_url: str, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Guarded]:
    """A guarded server with a fake clock and fake providers."""
    async with guarding(database_url, tmp_path, clock=clock, providers=fake_providers()) as made:
        yield made


async def callers(ledger: Ledger, after: int) -> list[tuple[str, str, str]]:
    """Return what was recorded after a sequence: fact, identity and person."""
    return [
        (
            str(entry.record.WhichOneof("fact")),
            entry.record.caller.identity,
            entry.record.caller.person,
        )
        for entry in await ledger.entries()
        if entry.sequence > after
    ]


def facts_of_calls(recorded: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Return what the ledger has not done by itself."""
    return [each for each in recorded if each[0] not in BY_ITSELF]


Ask = Callable[[Ledger], Awaitable[object]]


async def batch(ledger: Ledger) -> None:
    """Post one that is taken and one that is refused."""
    await ledger.batch(item("one", transfer("house", "bob", 5)), item("two", transfer("bob", "house", 99)))


async def accounts(ledger: Ledger) -> None:
    """Open one that is new and one that is there."""
    request = account_pb2.BatchOpenAccountsRequest(
        tenant_id=ledger.tenant_id, mode=account_pb2.BATCH_MODE_INDEPENDENT
    )
    for name in ("carl", "bob"):
        request.items.add(idempotency_key=name, account=new_account(name))
    await ledger.stubs.accounts.BatchOpenAccounts(request)


async def stream(ledger: Ledger) -> None:
    """Send two messages in one call."""

    async def messages() -> AsyncIterator[posting_pb2.StreamTransactionsRequest]:
        for number in range(2):
            one = item(f"s{number}", transfer("house", "bob", 1))
            yield posting_pb2.StreamTransactionsRequest(tenant_id=ledger.tenant_id, items=[one])

    async for _ in ledger.stubs.postings.StreamTransactions(messages()):
        pass


async def ingest(ledger: Ledger) -> None:
    """Bring an event that moves money of a deposit, which has other records than the event's own."""
    cashier = Cashier(ledger)
    deposit = await cashier.initiate(500)
    await cashier.ingest(cashier.event(CAPTURED, deposit.deposit_id, 500))


async def confirm(ledger: Ledger) -> None:
    """Confirm a batch that has paid something out."""
    settler = Settler(ledger)
    await settler.send(stripe_file([charge(100, name="c"), paid(100)]))
    await settler.confirm("po_1")


async def repair(ledger: Ledger) -> None:
    """Book what a settlement report says of a deposit, whose webhook never came."""
    deposit = await Cashier(ledger).initiate(500, provider_ref="pi_late")
    await Settler(ledger).send(stripe_file([charge(500, name="late"), paid(500)]))
    await run(ledger)
    [found] = await Desk(ledger).findings(payment_id=deposit.deposit_id)
    request = finding_pb2.RepairFindingRequest(
        tenant_id=ledger.tenant_id, finding_id=found.finding_id, actor="ada"
    )
    await ledger.stubs.findings.RepairFinding(request)


async def run(ledger: Ledger) -> reconciliation_pb2.Run:
    """Compare an account with the ledger."""
    request = reconciliation_pb2.RunReconciliationRequest(
        tenant_id=ledger.tenant_id,
        idempotency_key="run",
        provider=PROVIDER,
        from_time=timestamp(FakeClock(START).advance(seconds=-86_400)),
        to_time=timestamp(START),
    )
    request.grace.FromSeconds(0)
    ended = reconciliation_pb2.Run()
    async for response in ledger.stubs.reconciliation.RunReconciliation(request):
        ended = response.run
    return ended


async def take_over(ledger: Ledger) -> None:
    """Import an opening balance."""
    await Opener(ledger).run([line(1, "ada", 5, 5)])


# RPCs that record something and are no keyed call with one record, by name.
OTHERS: dict[str, Ask] = {
    "BatchPostTransactions": batch,
    "BatchOpenAccounts": accounts,
    "StreamTransactions": stream,
    "IngestProviderEvents": ingest,
    "ConfirmSettlementBatch": confirm,
    "RepairFinding": repair,
    "ImportOpeningBalances": take_over,
}
# RPCs that change something and record nothing in the journal; tests below say where their caller stands.
UNRECORDED = {
    "CompareBalances",
    "RunReconciliation",
    "ImportSettlementReport",
    "PreviewSettlementReport",
    "StopOutbound",
    "ResumeOutbound",
}


async def test_each_rpc_that_changes_something_is_tried(server: Service) -> None:
    """A new one is tried here as well, or this test is red."""
    changing = {name.rpartition("/")[2] for name in rpcs_of(server) if changes(name)}
    keyed = {mutation.method for mutation in (*SUCCESSES, *REJECTIONS)}

    assert changing == keyed | set(OTHERS) | UNRECORDED


async def test_record_of_each_keyed_change_names_its_first_caller(guarded: Guarded, clock: FakeClock) -> None:
    """Refusals too; a retry by somebody else is answered with the first outcome and changes no record."""
    async with guarded.channel_of(CALLER) as channel, guarded.channel_of(FIRST) as other:
        for number, mutation in enumerate((*SUCCESSES, *REJECTIONS)):
            clock.now = START
            prepared = Ledger(other, f"t-{number}", key_prefix="key")
            await prepared.create()
            await prepared.open_house()
            request = await mutation.make(prepared, clock)
            await Cashier(prepared).until_called()
            before = await prepared.head()
            ledger = prepared.over(channel, key_prefix="own")
            await tried(mutation, ledger, request)
            await tried(mutation, prepared, request)
            entry = await ledger.outcome(mutation.method, "the-key", player_id=mutation.player_id)

            assert entry.record.caller.identity == CALLER, mutation
            assert entry.record.HasField("request_rejected") == bool(mutation.reason)
            person = getattr(request, "reviewer", "") or getattr(request, "actor", "")
            assert entry.record.caller.person == person, mutation
            recorded = await callers(ledger, before)
            assert entry.sequence > before
            calls = [each for each in facts_of_calls(recorded) if each[1] != ""]
            assert {(identity, named) for _, identity, named in calls} == {(CALLER, person)}, mutation
            verified = await ledger.verify()
            assert not verified.HasField("first_difference"), mutation


async def tried(mutation: Mutation, ledger: Ledger, request: Any) -> None:
    """Make a call, which is refused if the mutation says so."""
    if mutation.reason:
        assert (await refusal(mutation.call(ledger, request))).reason == mutation.reason
    else:
        await mutation.call(ledger, request)


@pytest.mark.parametrize("name", OTHERS)
async def test_record_of_each_other_change_names_its_caller(guarded: Guarded, name: str) -> None:
    """Of every item, of every message, and of all that follows from an event."""
    async with guarded.channel_of(CALLER) as channel:
        ledger = Ledger(channel, "casino", key_prefix="key")
        await ledger.create()
        await ledger.open_house()
        await ledger.open("bob")
        before = await ledger.head()
        await OTHERS[name](ledger)
        recorded = facts_of_calls(await callers(ledger, before))

        own = [each for each in recorded if each[0] != "finding_changed"]
        assert len(own) >= 2
        assert {identity for _, identity, _ in own} == {CALLER}, recorded
        if name == "BatchPostTransactions":
            assert [fact for fact, _, _ in own] == ["transaction_posted", "request_rejected"]
        verified = await ledger.verify()
        assert not verified.HasField("first_difference")


async def test_change_without_a_record_names_its_caller_where_it_is_kept(guarded: Guarded) -> None:
    """A run, a report, a batch that paid out nothing, and the switch for outbound calls."""
    console = caller_pb2.Caller(identity=CALLER, person="ada")
    alone = caller_pb2.Caller(identity=CALLER)
    async with guarded.channel_of(CALLER) as channel, guarded.channel_of(FIRST) as other:
        ledger = Ledger(channel, "casino", key_prefix="key")
        await ledger.create()
        again = ledger.over(other, key_prefix="other")
        assert [(await run(each)).caller for each in (ledger, again)] == [alone, alone]

        settler = Settler(ledger)
        rows = stripe_file([charge(100, name="in"), charge(-100, name="out"), paid(0)])
        for each in (settler, Settler(again)):
            assert (await each.send(rows)).report.caller == alone
        await SettlementServiceStub(channel).ConfirmSettlementBatch(settler.confirm_request(actor="ada"))
        await SettlementServiceStub(other).ConfirmSettlementBatch(settler.confirm_request(actor="bob"))
        await settler.send(stripe_file([charge(0, name="more")]))
        batch = await settler.batch()
        assert (batch.state, batch.transaction_id) == (
            settlement_pb2.SETTLEMENT_BATCH_STATE_CONFIRMED,
            "",
        )
        assert batch.confirm_caller == console

        stop = outbound_pb2.StopOutboundRequest(note="fire", actor="ada")
        stopped = (await ledger.stubs.outbound.StopOutbound(stop)).outbound
        assert (stopped.actor, stopped.caller) == ("ada", console)
        resume = outbound_pb2.ResumeOutboundRequest(epoch=stopped.epoch, note="out", actor="bob")
        resumed = (await Stubs.over(other).outbound.ResumeOutbound(resume)).outbound
        assert resumed.caller == caller_pb2.Caller(identity=FIRST, person="bob")


async def test_open_server_names_nobody(database_url: str, clock: FakeClock) -> None:
    """Whatever a call says about persons in its metadata."""
    async with serving(database_url, clock=clock, providers=fake_providers()) as service:
        ledger = await service.new_ledger()
        request = account_pb2.OpenAccountRequest(
            tenant_id="casino", idempotency_key="k", account=new_account("bob")
        )
        await ledger.stubs.accounts.OpenAccount(request, metadata=(("defter-person", "ada"),))
        stop = outbound_pb2.StopOutboundRequest(note="fire", actor="ada")
        stopped = (await ledger.stubs.outbound.StopOutbound(stop)).outbound

        assert not [entry for entry in await ledger.entries() if entry.record.HasField("caller")]
        assert (stopped.actor, stopped.HasField("caller")) == ("ada", False)


async def test_what_the_ledger_does_later_by_itself_has_no_caller(guarded: Guarded, clock: FakeClock) -> None:
    """An event that was parked by the edge's call, and a hold that ends, though a caller has begun both."""
    async with guarded.channel_of(CALLER) as channel:
        ledger = Ledger(channel, "casino", key_prefix="key")
        await ledger.create()
        await ledger.open_house()
        await ledger.open("ann")
        await ledger.fund("ann", 10)
        end = FakeClock(clock.now).advance(seconds=60)
        await ledger.place_hold("ann", "house", 5, expire_time=timestamp(end))
        clock.advance(seconds=61)
        before = await ledger.head()
        await ledger.post("ann", "house", 10)
        assert ("hold_expired", "", "") in await callers(ledger, before)

        cashier = Cashier(ledger)
        event = cashier.event(CAPTURED, amount_minor=500, payment_ref="early")
        [parked] = await cashier.ingest(event)
        assert parked.event.state == payment_pb2.PROVIDER_EVENT_STATE_PARKED
        before = await ledger.head()
        await cashier.initiate(500, provider_ref="early")
        await until_applied(cashier, parked.event.provider_event_id)
        recorded = await callers(ledger, before)
        moved = {each for each in recorded if each[0] in ("provider_event_recorded", "hold_captured")}
        assert moved == {("provider_event_recorded", "", ""), ("hold_captured", "", "")}


async def test_callers_of_one_batch_and_of_two_servers_keep_apart(
    database_url: str, tmp_path: Path, clock: FakeClock
) -> None:
    """Calls share lanes, commits and batches that are decided again; each record names its own caller."""
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    identities = [CALLER, FIRST, "spiffe://d/root", "spiffe://d/service"]
    async with AsyncExitStack() as opened:
        ledgers: list[tuple[str, Ledger]] = []
        for place, folder in enumerate(folders):
            guarded = await opened.enter_async_context(guarding(database_url, folder, clock=clock))
            for identity in identities:
                channel = await opened.enter_async_context(guarded.channel_of(identity))
                ledgers.append((identity, Ledger(channel, "casino", key_prefix=f"{identity}/{place}")))
        _, ledger = ledgers[0]
        await ledger.create()
        await ledger.open_house()
        await ledger.open("bob")
        before = await ledger.head()
        await asyncio.gather(
            *(
                each.post("house", "bob", 1, key=f"{identity} {place} {number}")
                for place, (identity, each) in enumerate(ledgers)
                for number in range(20)
            )
        )
        recorded = [entry.record for entry in await ledger.entries() if entry.sequence > before]

        assert len(recorded) == 20 * len(ledgers)
        for record in recorded:
            assert record.request.idempotency_key.split()[0] == record.caller.identity
        assert not (await ledger.verify()).HasField("first_difference")


@pytest.mark.parametrize("change", [b"\x02", b"\x00"])
async def test_verify_finds_another_caller(guarded: Guarded, change: bytes) -> None:
    """The name stands in the bytes that are hashed, so nobody signs for somebody else afterwards."""
    assert guarded.service is not None
    async with guarded.channel_of(CALLER) as channel:
        ledger = Ledger(channel, "casino", key_prefix="key")
        await ledger.create()
        await ledger.open_house()
        sequence = await ledger.head()
        assert not (await ledger.verify()).HasField("first_difference")
        name = f"'\\x{CALLER.encode().hex()}'::bytea"
        run_sql(
            guarded.service.database_url,
            "SET session_replication_role = replica; UPDATE journal SET record = overlay(record placing "
            f"'\\x{change.hex()}'::bytea from position({name} in record) for 1) WHERE sequence = {sequence}",
        )
        found = (await ledger.verify()).first_difference
        assert (found.sequence, found.subject) == (sequence, "chain_hash")
