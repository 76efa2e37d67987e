"""Own the oracle: what must hold after every history, by the provider's objects and the ledger's answers."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import asyncpg
from defter.ledger.v1 import account_pb2, journal_pb2
from defter.payments.v1 import deposit_pb2, payment_pb2, withdrawal_pb2
from defter.reconciliation.v1 import finding_pb2

from tests.simulation.border.provider import Thing
from tests.simulation.border.world import FUNDS, PLAYER, World
from tests.support.coherence import UNEVEN_CURRENCIES, WRONG_LINES, WRONG_PENDING

_PAGE: Final = 100
_OPEN_HOLDS: Final = """
SELECT hold_number, expire_time FROM holds JOIN tenants USING (tenant_key) WHERE tenant_id = $1 AND state = 1
"""
_OPEN_CALLS: Final = """
SELECT payment_number, subject_number FROM outbox JOIN tenants USING (tenant_key)
WHERE tenant_id = $1 AND open
"""
_PARKED: Final = """
SELECT event_id FROM provider_events JOIN tenants USING (tenant_key) WHERE tenant_id = $1 AND state = 2
"""
_WAITING: Final = frozenset({payment_pb2.WITHDRAWAL_STATE_REQUESTED})
_ENDED_FINDINGS: Final = frozenset(
    {finding_pb2.FINDING_STATE_RESOLVED, finding_pb2.FINDING_STATE_AUTO_RESOLVED}
)


async def faults_of(world: World, owner: asyncpg.Connection[Any]) -> list[str]:
    """Return every broken promise, in words."""
    judge = _Judge(world)
    await judge.read()
    return [
        *judge.withdrawals_faults(),
        *judge.deposit_faults(),
        *judge.wallet_faults(),
        *await judge.hold_faults(owner),
        *await _book_faults(world, owner),
    ]


class _Judge:
    def __init__(self, world: World) -> None:
        self._world = world
        self._withdrawals: list[payment_pb2.Withdrawal] = []
        self._deposits: list[payment_pb2.Deposit] = []
        self._findings: list[finding_pb2.Finding] = []
        self._posted = 0

    async def read(self) -> None:
        """Ask the ledger for all of it."""
        world, tenant = self._world, self._world.tenant_id
        self._withdrawals = list(
            (
                await world.anyone(
                    withdrawal_pb2.ListWithdrawalsRequest(tenant_id=tenant, page_size=_PAGE),
                )
            ).withdrawals
        )
        self._deposits = list(
            (
                await world.anyone(
                    deposit_pb2.ListDepositsRequest(tenant_id=tenant, page_size=_PAGE),
                )
            ).deposits
        )
        self._findings = list(
            (
                await world.anyone(
                    finding_pb2.ListFindingsRequest(tenant_id=tenant, page_size=_PAGE),
                )
            ).findings
        )
        wallet = await world.anyone(
            account_pb2.GetBalanceRequest(tenant_id=tenant, account_id=f"player:{PLAYER}:real:EUR")
        )
        self._posted = wallet.balance.posted_balance_minor

    def withdrawals_faults(self) -> list[str]:
        """Compare each withdrawal with the provider's payouts to its destination, which is its alone."""
        found: list[str] = []
        for withdrawal in self._withdrawals:
            made = self._world.provider.made_for(withdrawal.destination)
            if self._is_critical(withdrawal.withdrawal_id):
                continue
            found += self._withdrawal_faults(withdrawal, made)
        return found

    def _withdrawal_faults(self, withdrawal: payment_pb2.Withdrawal, made: list[Thing]) -> list[str]:
        name = f"{withdrawal.withdrawal_id} ({_state(withdrawal)})"
        by_hand = withdrawal.withdrawal_id in self._world.by_hand
        if len(made) + by_hand > 1:
            return [f"{name} was paid {len(made) + by_hand} times, and nobody was told"]
        other = self._world.provider.get(withdrawal.provider_ref)
        if other is not None and other.destination != withdrawal.destination:
            return [f"{name} has taken {other.id} for its own, which went to {other.destination}"]
        moved = sum(thing.moved for thing in made) + withdrawal.amount_minor * by_hand
        if withdrawal.debited_minor != moved:
            return [f"{name} debited {withdrawal.debited_minor}, the provider moved {moved}"]
        return []

    def deposit_faults(self) -> list[str]:
        """Compare each deposit with what the provider captured and gave back."""
        found: list[str] = []
        for deposit in self._deposits:
            if self._is_critical(deposit.deposit_id):
                continue
            things = [
                thing
                for thing in self._world.provider.things
                if thing.kind == "payment"
                and thing not in self._world.lost
                and (thing.id == deposit.provider_ref or thing.our_id == deposit.deposit_id)
            ]
            captured = sum(thing.moved for thing in things)
            if deposit.captured_minor != captured:
                found.append(f"{deposit.deposit_id} credited {deposit.captured_minor} of {captured} captured")
            ids = {thing.id for thing in things}
            refunds = [
                thing
                for thing in self._world.provider.things
                if thing.kind == "refund" and thing.payment in ids
            ]
            if len(refunds) > len(deposit.refunds) and self._world.plan.copy == "none":
                found.append(f"{deposit.deposit_id} was refunded {len(refunds)} times, and nobody was told")
            refunded = sum(thing.moved for thing in refunds if thing not in self._world.lost)
            if deposit.refunded_minor != refunded and self._world.plan.copy == "none":
                found.append(f"{deposit.deposit_id} debited {deposit.refunded_minor} of {refunded} refunded")
        return found

    def wallet_faults(self) -> list[str]:
        """Check that the wallet has what was captured less what went out, by the ledger's own payments."""
        expected = sum(each.captured_minor - each.refunded_minor for each in self._deposits) - sum(
            each.debited_minor for each in self._withdrawals
        )
        if self._posted == expected:
            return []
        return [f"the wallet has {self._posted}, its payments come to {expected} (funds {FUNDS})"]

    async def hold_faults(self, owner: asyncpg.Connection[Any]) -> list[str]:
        """Return open holds that nothing will ever end, and parked events that are not reported."""
        tenant = self._world.tenant_id
        calls = await owner.fetch(_OPEN_CALLS, tenant)
        numbers = {number for row in calls for number in row}
        found: list[str] = []
        for row in await owner.fetch(_OPEN_HOLDS, tenant):
            payment = self._owner_of(row["hold_number"])
            if row["expire_time"] is not None or (
                payment is not None
                and (
                    _number(payment[1]) in numbers
                    or _number(payment[0]) in numbers
                    or self._waits(payment[0])
                    or self._has_open_finding(payment[0])
                )
            ):
                continue
            found.append(f"the hold {row['hold_number']} of {payment} has no way to its end")
        if not self._findings:
            parked = await owner.fetch(_PARKED, tenant)
            found += [f"the event {row['event_id']} is parked, and nobody was told" for row in parked]
        return found

    def _owner_of(self, hold: int) -> tuple[str, str] | None:
        """Return the owner of a hold: the payment's id, and the id of the part that holds."""
        for withdrawal in self._withdrawals:
            if _number(withdrawal.hold_id) == hold:
                return withdrawal.withdrawal_id, withdrawal.withdrawal_id
        for deposit in self._deposits:
            if deposit.hold_id and _number(deposit.hold_id) == hold:
                return deposit.deposit_id, deposit.deposit_id
            for refund in deposit.refunds:
                if refund.hold_id and _number(refund.hold_id) == hold:
                    return deposit.deposit_id, refund.refund_id
        return None

    def _waits(self, payment_id: str) -> bool:
        return any(each.withdrawal_id == payment_id and each.state in _WAITING for each in self._withdrawals)

    def _is_critical(self, payment_id: str) -> bool:
        return any(
            finding.payment_id == payment_id and finding.severity == finding_pb2.SEVERITY_CRITICAL
            for finding in self._findings
        )

    def _has_open_finding(self, payment_id: str) -> bool:
        return any(
            finding.payment_id == payment_id and finding.state not in _ENDED_FINDINGS
            for finding in self._findings
        )

    def counts(self) -> Counter[str]:
        """Count the findings by class."""
        return Counter(finding_pb2.FindingClass.Name(each.finding_class) for each in self._findings)


async def _book_faults(world: World, owner: asyncpg.Connection[Any]) -> list[str]:
    """Check the sums in the tables, and have the journal verified."""
    key = await owner.fetchval("SELECT tenant_key FROM tenants WHERE tenant_id = $1", world.tenant_id)
    found = [
        f"the books do not add up: {rows}"
        for statement in (WRONG_LINES, WRONG_PENDING, UNEVEN_CURRENCIES)
        if (rows := await owner.fetch(statement, key))
    ]
    verified = await world.anyone(journal_pb2.VerifyJournalRequest(tenant_id=world.tenant_id))
    if verified.result.HasField("first_difference"):
        found.append(f"VerifyJournal: {verified.result.first_difference}")
    return found


def _number(our_id: str) -> int | None:
    """Return the sequence in an id of ours, its last part."""
    return int(our_id.rpartition("_")[2]) if our_id else None


def _state(withdrawal: payment_pb2.Withdrawal) -> str:
    return payment_pb2.WithdrawalState.Name(withdrawal.state).removeprefix("WITHDRAWAL_STATE_")
