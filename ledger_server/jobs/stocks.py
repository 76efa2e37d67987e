"""Owns the metrics of what waits in the database: counted now and then, never when somebody reads metrics.

Every process counts all of it for itself, so any of them tells the whole; take the largest, not the sum.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Final

import structlog
from prometheus_client import Gauge

from ledger_server.domain.clock import Clock
from ledger_server.domain.findings.discrepancy import RULES, FindingClass, Severity
from ledger_server.domain.payments.deposit import DepositState
from ledger_server.domain.payments.withdrawal import WithdrawalState
from ledger_server.store import stock_reads
from ledger_server.store.database import CONNECTION_ERRORS, Pool
from ledger_server.store.database_clock import known

log = structlog.get_logger()

_DEPOSIT: Final = 1
_WITHDRAWAL: Final = 2
_KINDS: Final = {_DEPOSIT: "deposit", _WITHDRAWAL: "withdrawal"}
OPEN_STATES: Final = (
    (_DEPOSIT, DepositState.INITIATED),
    (_DEPOSIT, DepositState.AUTHORIZED),
    (_WITHDRAWAL, WithdrawalState.REQUESTED),
    (_WITHDRAWAL, WithdrawalState.APPROVED),
)
"""The states that a payment is to leave again; those in which it ends have ever more payments."""

_Labels = tuple[str, ...]
# Shown also when nothing waits, so that nothing looks like no answer.
_NOBODY: Final = ("",)


class Stock:
    """A gauge with one value for each set of labels that was counted last."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._shown: set[_Labels] = set()

    def show(self, values: Mapping[_Labels, float]) -> None:
        """Show these values, and no longer those of other labels."""
        for labels, value in values.items():
            self._gauge.labels(*labels).set(value)
        for labels in self._shown - values.keys():
            self._gauge.remove(*labels)
        self._shown = set(values)


PAYMENTS: Final = Stock(
    Gauge(
        "defter_payments_open",
        "Payments in a state that they are to leave again, at most 1,000 of a tenant and a state",
        ["tenant", "kind", "state"],
    )
)
HOLDS_DUE: Final = Stock(
    Gauge("defter_holds_due", "Holds whose time has come and whose end is not recorded yet", ["tenant"])
)
HOLDS_DUE_AGE: Final = Stock(
    Gauge("defter_holds_due_oldest_seconds", "For how long the hold is due that is due longest", ["tenant"])
)
PARKED: Final = Stock(
    Gauge("defter_parked_events", "Provider events that wait for their payment", ["tenant"])
)
PARKED_AGE: Final = Stock(
    Gauge("defter_parked_events_oldest_seconds", "For how long the first of these events waits", ["tenant"])
)
FINDINGS: Final = Stock(
    Gauge(
        "defter_findings_open",
        "Findings that nobody has resolved",
        ["tenant", "finding_class", "severity"],
    )
)
RECONCILED: Final = Stock(
    Gauge(
        "defter_reconciliation_age_seconds",
        "Time since the newest complete run of a provider account began",
        ["tenant", "provider"],
    )
)
COUNTED: Final = Gauge(
    "defter_stocks_counted_timestamp_seconds", "When what waits in the database was counted last"
)


class Stocks:
    """Counts in the background what waits in the database."""

    def __init__(
        self, pool: Pool, clock: Clock, *, pause_seconds: float, named_tenants: frozenset[str]
    ) -> None:
        """Take the tenants that have a label of their own; all others together have none."""
        self._pool = pool
        self._clock = clock
        self._pause_seconds = pause_seconds
        self._named = named_tenants
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin in the background."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def count(self) -> None:
        """Count once, and show it."""
        now = await known(self._clock)
        due = await stock_reads.holds_due(self._pool, now)
        HOLDS_DUE.show(self._sums([(_NOBODY, 0), *(((each.tenant_id,), each.total) for each in due)]))
        HOLDS_DUE_AGE.show(self._ages(due, now))
        parked = await stock_reads.events_parked(self._pool)
        PARKED.show(self._sums([(_NOBODY, 0), *(((each.tenant_id,), each.total) for each in parked)]))
        PARKED_AGE.show(self._ages(parked, now))
        payments: list[tuple[_Labels, float]] = [
            (("", _KINDS[kind], _state(kind, state)), 0) for kind, state in OPEN_STATES
        ]
        ages: list[tuple[_Labels, float]] = []
        findings: list[tuple[_Labels, float]] = [
            (("", each.name.lower(), rule.severity.name.lower()), 0) for each, rule in RULES.items()
        ]
        tenants = await stock_reads.tenants_after(self._pool, "")
        while tenants:
            payments += [
                ((each.tenant_id, _KINDS[each.kind], _state(each.kind, each.state)), each.total)
                for each in await stock_reads.payments_open(self._pool, tenants, OPEN_STATES)
            ]
            findings += [
                (
                    (
                        each.tenant_id,
                        FindingClass(each.finding_class).name.lower(),
                        Severity(each.severity).name.lower(),
                    ),
                    each.total,
                )
                for each in await stock_reads.findings_open(self._pool, tenants)
            ]
            ages += [
                ((each.tenant_id, each.provider), (now - each.since).total_seconds())
                for each in await stock_reads.reconciled(self._pool, tenants)
            ]
            tenants = await stock_reads.tenants_after(self._pool, tenants[-1][1])
        PAYMENTS.show(self._sums(payments))
        FINDINGS.show(self._sums(findings))
        RECONCILED.show(self._longest(ages))
        COUNTED.set_to_current_time()

    async def _run(self) -> None:
        while True:
            try:
                await self.count()
            except CONNECTION_ERRORS as error:
                log.warning("what waits could not be counted", error=repr(error))
            except Exception:
                log.exception("what waits could not be counted")
            # Random, so that processes that were started together don't count at the same time.
            await asyncio.sleep(self._pause_seconds * random.uniform(0.5, 1.0))  # noqa: S311  # jitter, no secret

    def _ages(self, waiting: Iterable[stock_reads.Waiting], now: datetime) -> Mapping[_Labels, float]:
        return self._longest(
            [(_NOBODY, 0.0), *(((each.tenant_id,), (now - each.oldest).total_seconds()) for each in waiting)]
        )

    def _sums(self, values: Iterable[tuple[_Labels, float]]) -> Mapping[_Labels, float]:
        """Return the sums by labels, of which the first is the tenant's."""
        sums: Counter[_Labels] = Counter()
        for (tenant_id, *others), value in values:
            sums[self._label(tenant_id), *others] += value  # type: ignore[assignment]  # a counter of floats
        return dict(sums)

    def _longest(self, values: Iterable[tuple[_Labels, float]]) -> Mapping[_Labels, float]:
        """Return the largest by labels, of which the first is the tenant's; 0 for what is ahead of time."""
        longest: dict[_Labels, float] = {}
        for (tenant_id, *others), value in values:
            labels = (self._label(tenant_id), *others)
            longest[labels] = max(longest.get(labels, 0.0), value)
        return longest

    def _label(self, tenant_id: str) -> str:
        return tenant_id if tenant_id in self._named else ""


def _state(kind: int, state: int) -> str:
    return (DepositState(state) if kind == _DEPOSIT else WithdrawalState(state)).name.lower()
