"""Own the proof that a finding about an object of the provider is one, whichever payment leads to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import pytest
from msgspec.structs import replace

from ledger_server.domain.findings.discrepancy import FindingClass, Side
from ledger_server.domain.findings.finding import Source
from ledger_server.domain.payments.commands import ApproveWithdrawal
from ledger_server.domain.payments.events import EventType, ProviderEvent
from ledger_server.domain.provider_record import ProviderRecordKind
from ledger_server.domain.state.commands import Method
from tests.support.clock import FakeClock
from tests.support.engine import (
    IDS,
    TENANT,
    Engine,
    asked,
    assert_coherent,
    delivery,
    deposit,
    engine,
    fund,
    withdrawal,
)
from tests.support.findings import NOON, a_discrepancy, history_of, reported, stored_finding
from tests.support.payments import an_event

FURTHER: Final = "x-object"
"""The provider's name of the object that there is one of too many."""

Begin = Callable[[Engine, str], Awaitable[int]]
"""Begins a payment under a name, and returns its number."""
Tell = Callable[[int, str], ProviderEvent]
"""Returns the event that tells of the further object, of a payment with a number and a name."""


def of_deposit(number: int, at: int, *, ref: str, object_ref: str) -> ProviderEvent:
    """Return the event of a capture that names our deposit."""
    event = an_event(EventType.PAYMENT_CAPTURED, 1000, ref=ref, object_ref=object_ref, payment=number, at=at)
    return replace(event, payment_id=IDS.deposit_id(number))


def of_withdrawal(number: int, at: int, *, ref: str) -> ProviderEvent:
    """Return the event of a payout that names our withdrawal."""
    event = an_event(EventType.PAYOUT_PAID, 100, ref=ref, object_ref=ref, payment=number, at=at)
    return replace(event, payment_id=IDS.withdrawal_id(number))


async def begin_captured(running: Engine, name: str) -> int:
    """Begin a deposit that is captured."""
    number = (await running.ask(deposit(name))).sequence
    await running.deliver(of_deposit(number, 0, ref=name, object_ref=f"cap-{name}"))
    return number


async def begin_paid(running: Engine, name: str) -> int:
    """Begin a withdrawal that is paid out."""
    number = (await running.ask(withdrawal(name))).sequence
    approve = ApproveWithdrawal(
        withdrawal_id=IDS.withdrawal_id(number), number=number, reviewer="rita", note="", identity=""
    )
    outcome = await running.ask(asked(approve, Method.ApproveWithdrawal, f"approve {name}"))
    assert not outcome.rejected
    await running.deliver(of_withdrawal(number, 0, ref=name))
    return number


async def begin_captured_as_further(running: Engine, name: str) -> int:
    """Begin a deposit without a name at the provider, for which the object was captured that a run found."""
    number = (await running.ask(deposit(name, provider_ref=""))).sequence
    object_ref = FURTHER if name == "pay-2" else f"cap-{name}"
    await running.deliver(of_deposit(number, 0, ref=f"made-{name}", object_ref=object_ref))
    return number


def captured_again(number: int, name: str) -> ProviderEvent:
    """A further payment was captured for the deposit."""
    return of_deposit(number, 2, ref=f"again-{name}", object_ref=FURTHER)


def captured_before(number: int, name: str) -> ProviderEvent:
    """An earlier payment was captured for the deposit, so that the one that was known is the further one."""
    return of_deposit(number, -30, ref=f"before-{name}", object_ref="before")


def paid_again(number: int, _: str) -> ProviderEvent:
    """A further payout was paid for the withdrawal."""
    return of_withdrawal(number, 2, ref=FURTHER)


CASES: Final[dict[str, tuple[Begin, Tell, ProviderRecordKind]]] = {
    "captured again": (begin_captured, captured_again, ProviderRecordKind.PAYMENT),
    "captured before": (begin_captured_as_further, captured_before, ProviderRecordKind.PAYMENT),
    "paid again": (begin_paid, paid_again, ProviderRecordKind.PAYOUT),
}


@pytest.mark.parametrize("how", ["in one call", "here", "elsewhere", "after much else"])
@pytest.mark.parametrize("case", list(CASES))
async def test_learn_of_object_that_run_found_with_another_payment_changes_its_finding(
    first: Engine, second: Engine, database_url: str, clock: FakeClock, case: str, how: str
) -> None:
    """The event is booked, its neighbour is not disturbed, and there is one finding with both versions."""
    begin, tell, kind = CASES[case]
    await fund(first, 10_000)
    other, number = await begin(first, "pay-1"), await begin(first, "pay-2")
    remote = Side(ref=FURTHER, kind=kind, amount=None, currency="EUR", state="", time=NOON, type="")
    found = a_discrepancy(
        FindingClass.DUPLICATE_AT_PROVIDER,
        payment=other,
        withdrawal=kind is ProviderRecordKind.PAYOUT,
        remote=remote,
    )
    events = [
        delivery(tell(number, "pay-2")),
        delivery(an_event(EventType.FEE_CHARGED, 5, ref="fund", at=9)),
    ]
    if how == "in one call":
        outcomes = await first.ledger.submit(TENANT, [reported(found), *events])
    elif how == "after much else":
        async with engine(database_url, clock, cache_size=3) as small:
            outcomes = await small.ledger.submit(TENANT, [reported(found)])
            for each in range(10):
                await small.ask(deposit(f"much-{each}"))
            outcomes += await small.ledger.submit(TENANT, events)
    else:
        outcomes = await first.ledger.submit(TENANT, [reported(found)])
        outcomes += await (first if how == "here" else second).ledger.submit(TENANT, events)

    assert [each.refused for each in outcomes] == [None] * 3
    stored = await stored_finding(first.pool, found.fingerprint)
    assert stored is not None
    assert (stored.seen.payment, stored.source, stored.version) == (number, Source.PAYMENT, 2)
    assert await history_of(first.pool, found.fingerprint) == [(1, "OPEN"), (2, "OPEN")]
    await assert_coherent(database_url, clock)
