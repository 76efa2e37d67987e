"""Owns the dispatcher: makes the calls that are owed to providers, each at least once and paid at most once.

For every call: the ledger records that it is about to be made; the provider is called with the key that
was fixed when the call was decided; the answer is recorded. What is not known (a time-out, a 5xx, a crash
in between) is first asked for by reading, and tried again only with the same key and only while the
provider is certain to remember it. What ends a call without a payment is a definite refusal, or the
provider's proof, long after the last try, that nothing was ever made.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, TypeVar

import structlog
from msgspec import Struct

from ledger_server.domain.clock import Clock
from ledger_server.domain.errors import Refused
from ledger_server.domain.facts import DepositChanged, TransactionPosted, WithdrawalChanged
from ledger_server.domain.ids import TenantId, TenantKey, tenant_key
from ledger_server.domain.payments.calls import CallAccepted, CallBegun, CallNews, CallRejected
from ledger_server.domain.payments.commands import ReportCall
from ledger_server.domain.payments.knowledge import CallState
from ledger_server.domain.reconciliation.record import RemoteState
from ledger_server.engine.ledger import Ledger
from ledger_server.engine.work import Request
from ledger_server.jobs import metrics
from ledger_server.jobs.owed import Owed, owed_of, polled_event
from ledger_server.jobs.rounds import Rounds
from ledger_server.providers.adapter import (
    Accepted,
    Adapter,
    Answer,
    NotFound,
    Rejected,
    Unknown,
)
from ledger_server.store import history_store, outbox_store, payment_store
from ledger_server.store.database import CONNECTION_ERRORS, Pool
from ledger_server.store.lane_store import read_ids
from ledger_server.store.ledger_rows import JournalRow
from ledger_server.store.outbox_store import ClaimedCall

log = structlog.get_logger()

_FINAL: Final = frozenset({RemoteState.SUCCEEDED, RemoteState.FAILED})
_NEVER_MADE: Final = "never_made"
_MAX_DOUBLINGS: Final = 30
_Answer = TypeVar("_Answer")


class DispatchLimits(Struct, frozen=True, kw_only=True):
    """How calls are made.

    Attributes:
        pause_seconds: between two looks at all tenants; a commit of this process is acted on at once.
        lease_seconds: for how long a claimed call is this process's; more than twice `call_seconds`.
        call_seconds: after so long an unanswered call is given up as unknown.
        request_life_seconds: for how long a request that we have given up may still be carried out at the
            provider; an absence is a proof only after that.
        first_back_off_seconds, max_back_off_seconds: between tries whose outcome is unknown.
        poll_seconds, max_poll_seconds: between looks at what a provider has taken on and not finished.
        calls_at_once: of this process at one provider account.
    """

    pause_seconds: float = 5.0
    lease_seconds: float = 90.0
    call_seconds: float = 30.0
    request_life_seconds: float = 3_600.0
    first_back_off_seconds: float = 1.0
    max_back_off_seconds: float = 300.0
    poll_seconds: float = 60.0
    max_poll_seconds: float = 21_600.0
    calls_at_once: int = 16


class Dispatcher:
    """Makes the owed calls of all tenants."""

    def __init__(
        self,
        ledger: Ledger,
        pool: Pool,
        clock: Clock,
        adapters: Mapping[str, Adapter],
        limits: DispatchLimits,
    ) -> None:
        self._ledger = ledger
        self._pool = pool
        self._clock = clock
        self._adapters = adapters
        self._limits = limits
        # One provider that is slow keeps neither the others waiting nor the other tenants.
        self._turns: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(limits.calls_at_once)
        )
        self._running: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._rounds = Rounds("owed calls", self._look, pool, limits.pause_seconds)
        self._timers: set[asyncio.TimerHandle] = set()

    def start(self) -> None:
        """Begin in the background."""
        self._rounds.start()

    async def stop(self) -> None:
        """Stop; a call under way is given up as a crash would give it up, and found out later."""
        for timer in self._timers:
            timer.cancel()
        await self._rounds.stop()
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def committed(self, tenant_id: str, rows: Sequence[JournalRow]) -> None:
        """Look at a tenant at once if a commit owes a call."""
        for row in rows:
            fact = row.fact
            if type(fact) is TransactionPosted:
                continue  # told apart at once, since it is nearly all there is
            if isinstance(fact, DepositChanged | WithdrawalChanged) and fact.owed:
                self._rounds.look_at(tenant_id)
                return

    async def dispatch(self, tenant_id: str) -> int:
        """Make the calls of a tenant whose time has come; return how many were made or found out."""
        key = tenant_key(TenantId(tenant_id))
        count = 0
        while True:
            claimed = await outbox_store.claim(
                self._pool,
                key,
                self._clock(),
                lease=timedelta(seconds=self._limits.lease_seconds),
                limit=self._limits.calls_at_once,
            )
            if not claimed:
                return count
            count += len(claimed)
            # A call that has waited for its turn until its lease may end in the middle is left alone.
            until = self._clock() + timedelta(
                seconds=self._limits.lease_seconds - 2 * self._limits.call_seconds
            )
            await asyncio.gather(*(self._turn(tenant_id, key, call, until) for call in claimed))

    async def _look(self, tenant_id: str) -> None:
        """Begin with a tenant's calls, unless they are being made already."""
        if tenant_id in self._running:
            self._again.add(tenant_id)
            return
        task = asyncio.create_task(self._run(tenant_id))
        self._running[tenant_id] = task
        task.add_done_callback(lambda _: self._ended(tenant_id))

    def _ended(self, tenant_id: str) -> None:
        del self._running[tenant_id]
        if tenant_id in self._again:
            self._again.discard(tenant_id)
            self._rounds.look_at(tenant_id)

    async def _run(self, tenant_id: str) -> None:
        try:
            await self.dispatch(tenant_id)
        except CONNECTION_ERRORS as error:
            log.warning("owed calls could not be claimed", error=repr(error), tenant_id=tenant_id)
        except Exception:
            log.exception("owed calls could not be claimed", tenant_id=tenant_id)

    async def _turn(self, tenant_id: str, key: TenantKey, call: ClaimedCall, until: datetime) -> None:
        """Take one claimed call a step further; whatever happens, it is tried again or closed."""
        async with self._turns[call.provider]:
            if self._clock() > until:
                return
            try:
                await self._step(tenant_id, key, call)
            except (*CONNECTION_ERRORS, Refused) as error:
                # The lease will end, and whoever claims the call next finds out where it stands.
                log.warning("a call was left for later", error=repr(error), tenant_id=tenant_id)
            except Exception:
                log.exception("a call was left for later", tenant_id=tenant_id, call_number=call.number)

    async def _step(self, tenant_id: str, key: TenantKey, call: ClaimedCall) -> None:
        adapter = self._adapters.get(call.provider)
        if adapter is None:
            await self._postpone(tenant_id, key, call, f"no provider account {call.provider!r} is configured")
            return
        owed = await self._owed(key, call)
        unsent = owed is not None and owed.state in (CallState.PENDING, CallState.UNDER_WAY)
        if unsent and not await self._outbound_allowed():
            await self._postpone(tenant_id, key, call, "outbound calls are stopped")
            return
        if owed is not None and owed.state is CallState.PENDING:
            if call.try_count > 1:
                # It has waited, for its account to be configured perhaps, and nothing was ever sent: the
                # provider's memory of the key begins now.
                restarted = await outbox_store.restart(self._pool, key, call, self._clock())
                if restarted is None:
                    return
                call = restarted
            await self._report(tenant_id, call, CallBegun())
            owed = await self._owed(key, call)
        if owed is None or owed.done:
            await outbox_store.close(self._pool, key, call.number)
        elif owed.state is CallState.UNDER_WAY:
            await self._pursue(tenant_id, key, call, adapter, owed)
        elif owed.state is CallState.ACCEPTED:
            await self._poll(tenant_id, key, call, adapter, owed)
        elif owed.state is CallState.PENDING:
            await self._postpone(tenant_id, key, call, "it was not begun")
        else:
            await outbox_store.close(self._pool, key, call.number)

    async def _outbound_allowed(self) -> bool:
        async with self._pool.acquire() as connection:
            return await history_store.outbound_allowed(connection)

    async def _owed(self, key: TenantKey, call: ClaimedCall) -> Owed | None:
        """Return where a call stands by the payment's newest record."""
        async with self._pool.acquire() as connection:
            found = await payment_store.load_payments(connection, key, [call.payment])
            ids = await read_ids(connection, key)
        stored = found.get(call.payment)
        return None if stored is None else owed_of(ids, stored, call)

    async def _pursue(
        self, tenant_id: str, key: TenantKey, call: ClaimedCall, adapter: Adapter, owed: Owed
    ) -> None:
        """Call, after asking what became of an earlier try, if there was one."""
        if call.try_count > 1:
            asked_at = self._age(call)
            found = await self._limited(adapter.find(owed.call, owed.provider_ref))
            if isinstance(found, Accepted):
                await self._hear(tenant_id, key, call, owed, found)
                return
            # A key that the provider may have forgotten would be a new payment. While it remembers the key,
            # calling again is as safe as reading, and some providers can't be asked for all they do.
            memory = adapter.capabilities.idempotency_seconds
            if self._age(call) + self._limits.call_seconds >= memory:
                late = asked_at - memory
                await self._only_look(tenant_id, key, call, owed, found=found, asked_after_seconds=late)
                return
        await self._hear(tenant_id, key, call, owed, await self._limited(adapter.call(owed.call)))

    async def _only_look(
        self,
        tenant_id: str,
        key: TenantKey,
        call: ClaimedCall,
        owed: Owed,
        *,
        found: NotFound | Unknown,
        asked_after_seconds: float,
    ) -> None:
        """Judge what was not found once the call may not be made again: never made, or nobody knows.

        That it is not there proves nothing while a request of ours may still be under way. The last try was
        begun early enough to be given up before the provider's memory of the key ended, and none begins after
        that: so an absence that was asked for a request's life later speaks of all tries, for ever. Whatever
        the provider has told of it in the meantime is stronger: then it was made, and is looked for.

        Args:
            asked_after_seconds: how long after the memory's end it was asked for.
        """
        proven = isinstance(found, NotFound) and asked_after_seconds >= self._limits.request_life_seconds
        if proven and not owed.heard:
            message = "the provider has nothing under this id, and no try can still be under way"
            await self._hear(tenant_id, key, call, owed, Rejected(code=_NEVER_MADE, message=message))
            return
        why = found.reason if isinstance(found, Unknown) else "it is not there, which proves nothing yet"
        log.warning("a call may not be made again", why=why, tenant_id=tenant_id, call=owed.call.our_id)
        await self._rest(tenant_id, key, call, self._poll_pause(call, found), why)

    def _age(self, call: ClaimedCall) -> float:
        return (self._clock() - call.first_try_time).total_seconds()

    async def _limited(self, calling: Awaitable[_Answer]) -> _Answer | Unknown:
        """Await a provider for a bounded time; whatever goes wrong may have been done all the same."""
        try:
            async with asyncio.timeout(self._limits.call_seconds):
                return await calling
        except TimeoutError:
            return Unknown(reason="no answer in time")
        except Exception as error:
            log.exception("an adapter failed")
            return Unknown(reason=repr(error))

    async def _hear(
        self, tenant_id: str, key: TenantKey, call: ClaimedCall, owed: Owed, answer: Answer
    ) -> None:
        """Record what a provider has answered."""
        metrics.CALLS.labels(kind=call.kind.name.lower(), answer=type(answer).__name__.lower()).inc()
        match answer:
            case Accepted():
                news = CallAccepted(provider_ref=answer.provider_ref, payment_url=answer.payment_url)
                await self._report(tenant_id, call, news)
                await self._learn(tenant_id, key, call, owed, answer)
            case Rejected():
                log.warning("a call ended with nothing done", call=owed.call.our_id, code=answer.code)
                await self._report(
                    tenant_id, call, CallRejected(reason=f"{answer.code}: {answer.message}"[:255])
                )
                await outbox_store.close(self._pool, key, call.number)
            case Unknown():
                await self._postpone(tenant_id, key, call, answer.reason, answer.retry_after_seconds)

    async def _poll(
        self, tenant_id: str, key: TenantKey, call: ClaimedCall, adapter: Adapter, owed: Owed
    ) -> None:
        """Look at what the provider has taken on, should its event have been lost."""
        found = await self._limited(adapter.find(owed.call, owed.provider_ref))
        if isinstance(found, Accepted):
            await self._learn(tenant_id, key, call, owed, found)
        else:
            # Some can't be asked at all; then it is the event that tells, and looking is a formality.
            why = found.reason if isinstance(found, Unknown) else "the provider does not have what it took on"
            await self._rest(tenant_id, key, call, self._poll_pause(call, found), why)

    async def _learn(
        self, tenant_id: str, key: TenantKey, call: ClaimedCall, owed: Owed, answer: Accepted
    ) -> None:
        """Record a final state that was read; else look again later."""
        if not owed.polled:
            await outbox_store.close(self._pool, key, call.number)
        elif answer.state in _FINAL:
            await self._ledger.submit(tenant_id, [polled_event(owed, answer, self._clock())])
            await outbox_store.close(self._pool, key, call.number)
        else:
            await self._rest(tenant_id, key, call, self._poll_pause(call, answer), None)

    def _poll_pause(self, call: ClaimedCall, found: Accepted | NotFound | Unknown) -> float:
        """Return how long to wait for the next look: twice as long each time, up to a bound."""
        doublings = min(call.try_count - 1, _MAX_DOUBLINGS)
        pause: float = min(self._limits.poll_seconds * 2**doublings, self._limits.max_poll_seconds)
        allowed = found.retry_after_seconds if isinstance(found, Unknown) else None
        return max(pause, allowed or 0.0)

    async def _report(self, tenant_id: str, call: ClaimedCall, news: CallNews) -> None:
        command = ReportCall(kind=call.kind, payment=call.payment, subject=call.subject, news=news)
        [outcome] = await self._ledger.submit(tenant_id, [Request(command)])
        if outcome.refused is not None:
            raise outcome.refused

    async def _postpone(
        self,
        tenant_id: str,
        key: TenantKey,
        call: ClaimedCall,
        why: str,
        at_least_seconds: float | None = None,
    ) -> None:
        """Try again later: twice as late each time, up to a bound, and not before the provider allows it."""
        doublings = min(call.try_count - 1, _MAX_DOUBLINGS)
        pause = min(self._limits.first_back_off_seconds * 2**doublings, self._limits.max_back_off_seconds)
        pause = max(pause, at_least_seconds or 0.0)
        log.warning("a call is tried again", why=why, tenant_id=tenant_id, in_seconds=round(pause, 1))
        await self._rest(tenant_id, key, call, pause, why)

    async def _rest(
        self, tenant_id: str, key: TenantKey, call: ClaimedCall, pause: float, error: str | None
    ) -> None:
        pause *= random.uniform(0.75, 1.25)  # noqa: S311  # jitter, no secret
        until = self._clock() + timedelta(seconds=pause)
        await outbox_store.postpone(self._pool, key, call.number, until=until, error=error)
        loop = asyncio.get_running_loop()
        timer = loop.call_later(pause, self._rounds.look_at, tenant_id)
        self._timers = {each for each in self._timers if each.when() > loop.time()}
        self._timers.add(timer)
