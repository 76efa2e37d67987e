"""Owns the dispatcher of owed calls: each call is made at least once, and pays at most once.

There is one lane for each provider account that this process has an adapter for (`account_lane.py`); the
steps of a call stand in `calling.py`. For every call the ledger records that it is about to be made, the
provider is called with the key that was fixed when the call was decided, and the answer is recorded. Accounts
without an adapter here are left to other processes and reported.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

import structlog

from ledger_server.domain.clock import Clock
from ledger_server.domain.ids import TenantId, TenantKey, tenant_key
from ledger_server.domain.state.facts import DepositChanged, TransactionPosted, WithdrawalChanged
from ledger_server.engine.ledger import Ledger
from ledger_server.jobs import metrics
from ledger_server.jobs.account_lane import AccountLane
from ledger_server.jobs.calling import Calling, DispatchContext
from ledger_server.jobs.limits import DispatchLimits
from ledger_server.jobs.proof import Gate, Instants, open_gate, present
from ledger_server.providers.adapter import Adapter
from ledger_server.store import outbox_store
from ledger_server.store.database import CONNECTION_ERRORS, Pool
from ledger_server.store.ledger_rows import JournalRow
from ledger_server.store.outbox_store import ClaimedCall, DueCall

__all__ = ["DispatchLimits", "Dispatcher"]

log = structlog.get_logger()


class Dispatcher:
    """Makes the owed calls of all tenants."""

    def __init__(
        self,
        ledger: Ledger,
        pool: Pool,
        clock: Clock | None,
        adapters: Mapping[str, Adapter],
        limits: DispatchLimits,
        *,
        tenants: Mapping[str, frozenset[str]] | None = None,
        gate: Gate = open_gate,
        instants: Instants = present,
    ) -> None:
        """Make a dispatcher.

        Args:
            clock: a test's clock; None: leases and ages go by the database's clock alone.
            tenants: the tenants that may use an account; an account that is left out serves all tenants.
            gate: asked before calls are claimed and directly before each is sent.
            instants: tell for how long the process has stood still.
        """
        self._pool = pool
        self._clock = clock
        self._limits = limits
        self._shared = DispatchContext(ledger, pool, clock, limits, gate=gate, instants=instants)
        self._adapters = adapters
        allowed = tenants or {}
        self._lanes = {
            name: AccountLane(
                name,
                pool,
                clock,
                limits,
                step=self._step,
                gate=gate,
                tenants=_keys(allowed.get(name)),
            )
            for name in adapters
        }
        self._reports: asyncio.Task[None] | None = None
        self._reported: set[str] = set()

    def start(self) -> None:
        """Begin in the background."""
        for lane in self._lanes.values():
            lane.start()
        self._reports = asyncio.create_task(self._report_now_and_then())

    async def stop(self) -> None:
        """Stop; a call under way is abandoned as by a crash, and its outcome is found out later."""
        if self._reports is not None:
            self._reports.cancel()
            await asyncio.gather(self._reports, return_exceptions=True)
        await asyncio.gather(*(lane.stop() for lane in self._lanes.values()))

    def committed(self, tenant_id: str, rows: Sequence[JournalRow]) -> None:  # noqa: ARG002  # as all are told
        """Look at once at the accounts that a commit owes calls to."""
        for row in rows:
            fact = row.fact
            if type(fact) is TransactionPosted:
                continue  # skipped first, since nearly all facts are of this kind
            if isinstance(fact, DepositChanged | WithdrawalChanged) and fact.owed:
                lane = self._lanes.get(fact.owed.provider)
                if lane is not None:
                    lane.look()

    async def dispatch(self) -> int:
        """Make all due calls; return how many were made or found out."""
        return sum(await asyncio.gather(*(lane.make_due() for lane in self._lanes.values())))

    async def _step(self, due: DueCall, call: ClaimedCall) -> bool | None:
        calling = Calling(self._shared, due, call, self._adapters[call.provider])
        await calling.step()
        if calling.rest_seconds is not None:
            self._lanes[call.provider].look_after(calling.rest_seconds)
        return calling.heard

    async def report(self) -> None:
        """Measure the waiting calls of each account, and report accounts without an adapter here."""
        waiting = await outbox_store.overdue(self._pool, None if self._clock is None else self._clock())
        for gone in self._reported - {each.provider for each in waiting}:
            metrics.waits(gone, calls=0, stopped=0, oldest_seconds=0.0)
        self._reported = {each.provider for each in waiting}
        for each in waiting:
            oldest = max(0.0, each.oldest_seconds)
            metrics.waits(
                each.provider, calls=each.call_count, stopped=each.stopped_count, oldest_seconds=oldest
            )
            if each.provider not in self._adapters:
                log.warning(
                    "calls are owed to an account that is not configured here",
                    provider=each.provider,
                    calls=each.call_count,
                    oldest_seconds=round(oldest),
                )

    async def _report_now_and_then(self) -> None:
        while True:
            with suppress(*CONNECTION_ERRORS):
                await self.report()
            await asyncio.sleep(self._limits.report_seconds)


def _keys(tenants: frozenset[str] | None) -> list[TenantKey] | None:
    return None if tenants is None else [tenant_key(TenantId(tenant)) for tenant in tenants]
