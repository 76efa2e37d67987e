"""Own the proof that what is wrong with a payment is found in the very commit that makes it wrong."""

from __future__ import annotations

from collections.abc import Sequence

from asyncpg import Record

from ledger_server.domain.findings.commands import ResolveFinding
from ledger_server.domain.findings.finding import Finding, FindingState, Source
from ledger_server.domain.payments.events import EventType
from tests.support.clock import FakeClock
from tests.support.engine import KEY, TENANT, Engine, assert_coherent, deposit, engine
from tests.support.findings import history_of, step, stored_finding
from tests.support.payments import an_event

SMALL_CACHE = 3


async def capture(running: Engine, ref: str, amount: int, name: str) -> None:
    """Deliver one more capture of a deposit."""
    await running.deliver(
        an_event(EventType.PAYMENT_CAPTURED, amount, ref=ref, object_ref=name, event_id=f"{ref}-{name}")
    )


async def charge_fee(running: Engine, ref: str, name: str) -> None:
    """Deliver a fee of a deposit, which changes nothing of what is wrong with it."""
    await running.deliver(
        an_event(EventType.FEE_CHARGED, 5, ref=ref, object_ref=name, event_id=f"{ref}-{name}")
    )


async def over_captured(running: Engine, ref: str) -> Finding:
    """Begin a deposit of 1000 of which 1100 are captured; return its finding."""
    number = (await running.ask(deposit(ref))).sequence
    await capture(running, ref, 1100, "cap-1")
    rows = await running.pool.fetch(
        "SELECT fingerprint FROM reconciliation_findings WHERE tenant_key = $1 AND payment_number = $2",
        KEY,
        number,
    )
    [row] = rows
    found = await stored_finding(running.pool, row["fingerprint"])
    assert found is not None
    return found


async def written_together(running: Engine, payment: int) -> Sequence[Record]:
    """Return which database transactions wrote a payment, its findings and the newest record."""
    rows: Sequence[Record] = await running.pool.fetch(
        "SELECT 'payment', xmin::text FROM payments WHERE tenant_key = $1 AND payment_number = $2 UNION ALL"
        " SELECT 'finding', xmin::text FROM reconciliation_findings"
        " WHERE tenant_key = $1 AND payment_number = $2 UNION ALL"
        " SELECT 'record', xmin::text FROM journal WHERE tenant_key = $1"
        " AND sequence = (SELECT sequence FROM tenants WHERE tenant_key = $1)",
        KEY,
        payment,
    )
    return rows


async def test_hear_what_contradicts_a_deposit_writes_both_in_one_commit(
    first: Engine, database_url: str, clock: FakeClock
) -> None:
    """Nobody ever sees the payment without what is wrong with it."""
    found = await over_captured(first, "pay-1")

    rows = await written_together(first, found.seen.payment or 0)

    assert [row[0] for row in rows] == ["payment", "finding", "record"]
    assert len({row["xmin"] for row in rows}) == 1
    assert (found.state, found.version, found.source) == (FindingState.OPEN, 1, Source.PAYMENT)
    assert found.seen.evidence["actual_minor"] == "1100"
    await assert_coherent(database_url, clock)


async def test_hear_more_of_a_deposit_changes_its_finding_only_where_the_facts_change(
    first: Engine, second: Engine, database_url: str, clock: FakeClock
) -> None:
    """Through either process; what a person has resolved stays so until there is news."""
    found = await over_captured(first, "pay-1")
    fingerprint = found.fingerprint
    await charge_fee(second, "pay-1", "fee-1")
    await capture(second, "pay-1", 50, "cap-2")
    await first.ask(step(ResolveFinding, fingerprint, 2, "resolve"))
    await charge_fee(second, "pay-1", "fee-2")
    await charge_fee(first, "pay-1", "fee-3")

    resolved = await stored_finding(first.pool, fingerprint)
    await capture(first, "pay-1", 25, "cap-3")
    reopened = await stored_finding(first.pool, fingerprint)

    assert resolved is not None
    assert reopened is not None
    assert (resolved.state, resolved.version) == (FindingState.RESOLVED, 3)
    assert [each.seen.evidence["actual_minor"] for each in (resolved, reopened)] == ["1150", "1175"]
    assert await history_of(first.pool, fingerprint) == [
        (1, "OPEN"),
        (2, "OPEN"),
        (3, "RESOLVED"),
        (4, "REOPENED"),
    ]
    await assert_coherent(database_url, clock)


async def test_forget_payment_and_hear_of_it_again_remembers_its_finding(
    first: Engine, database_url: str, clock: FakeClock
) -> None:
    """A lane that keeps few payments loads one together with its findings, and forgets both together."""
    async with engine(database_url, clock, cache_size=SMALL_CACHE) as running:
        found = await over_captured(running, "pay-1")
        await running.ask(step(ResolveFinding, found.fingerprint, 1, "resolve"))
        await begin_others(running, "a")
        assert kept(running, found) == (False, False)

        await charge_fee(running, "pay-1", "fee-1")
        assert kept(running, found) == (True, True)
        assert await history_of(running.pool, found.fingerprint) == [(1, "OPEN"), (2, "RESOLVED")]

        await begin_others(running, "b")
        assert kept(running, found) == (False, False)
        await capture(running, "pay-1", 50, "cap-2")

        assert (await history_of(running.pool, found.fingerprint))[2:] == [(3, "REOPENED")]
    await assert_coherent(database_url, clock)


async def test_change_finding_by_hand_while_its_payment_is_kept_is_known_to_the_payment(
    first: Engine, second: Engine, database_url: str, clock: FakeClock
) -> None:
    """A step through another process is not overlooked by the lane that knows the payment."""
    found = await over_captured(first, "pay-1")
    await second.ask(step(ResolveFinding, found.fingerprint, 1, "resolve"))

    await charge_fee(first, "pay-1", "fee-1")
    await capture(first, "pay-1", 50, "cap-2")

    assert await history_of(first.pool, found.fingerprint) == [(1, "OPEN"), (2, "RESOLVED"), (3, "REOPENED")]
    await assert_coherent(database_url, clock)


async def begin_others(running: Engine, prefix: str) -> None:
    """Begin more deposits than a small cache keeps, one commit each."""
    for number in range(3 * SMALL_CACHE):
        await running.ask(deposit(f"{prefix}-{number}"))


def kept(running: Engine, found: Finding) -> tuple[bool, bool]:
    """Return whether the lane still has the payment of a finding, and the finding itself."""
    tip = running.ledger._lanes[TENANT]._commits.tip
    assert tip is not None
    known = tip.working_set
    return found.seen.payment in known.payments, found.fingerprint in known.findings
