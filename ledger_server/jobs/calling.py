"""Owns the steps of one claimed call: begun in the ledger, made, its outcome found out and reported.

An unknown outcome (a time-out, a 5xx, a crash in between) is first asked for by reading. The call is repeated
only with the same key, and only while the provider is certain to remember it. A call ends without a payment
by a definite refusal, or by two proofs at different times, long after the last try, that nothing was ever
made. An object at the provider under our id that is not what we asked for ends nothing: a person decides.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, TypeVar

import structlog

from ledger_server.domain.clock import Clock
from ledger_server.domain.errors import Refused
from ledger_server.domain.findings.commands import ReportDiscrepancy
from ledger_server.domain.findings.finding import Source
from ledger_server.domain.payments.calls import CallAccepted, CallBegun, CallNews, CallRejected
from ledger_server.domain.payments.commands import ReportCall
from ledger_server.domain.payments.knowledge import CallState
from ledger_server.domain.provider_record import RemoteState
from ledger_server.engine.lane.work import Request
from ledger_server.engine.ledger import Ledger
from ledger_server.jobs import metrics
from ledger_server.jobs.call_spans import asking_span, step_span
from ledger_server.jobs.limits import DispatchLimits
from ledger_server.jobs.owed import Owed, not_ours, owed_of, polled_event
from ledger_server.jobs.proof import Gate, Instants, LeaseProof
from ledger_server.providers.absence import listed_as_absent
from ledger_server.providers.adapter import (
    Accepted,
    Adapter,
    Answer,
    Declined,
    NotFound,
    NotOurs,
    Unknown,
    Unsent,
)
from ledger_server.providers.matching import judged
from ledger_server.store import outbox_store, payment_store
from ledger_server.store.database import CONNECTION_ERRORS, Pool
from ledger_server.store.lane_store import read_ids
from ledger_server.store.outbox_store import ClaimedCall, DueCall

log = structlog.get_logger()

_FINAL: Final = frozenset({RemoteState.SUCCEEDED, RemoteState.FAILED})
# Calls in these states are never made again, but an object at the provider may still come to an end.
_LOOKED_FOR: Final = frozenset({CallState.ACCEPTED, CallState.DROPPED})
_NEVER_MADE: Final = "never_made"
_MAX_DOUBLINGS: Final = 30
_Answer = TypeVar("_Answer")


class DispatchContext:
    """What all calls of a dispatcher have in common."""

    def __init__(
        self,
        ledger: Ledger,
        pool: Pool,
        clock: Clock | None,
        limits: DispatchLimits,
        *,
        gate: Gate,
        instants: Instants,
    ) -> None:
        self.ledger = ledger
        self.pool = pool
        self.clock = clock
        self.limits = limits
        self.gate = gate
        self.instants = instants


class Calling:
    """One claimed call on its way.

    Attributes:
        heard: whether the provider was heard; None: it was not asked.
        rest_seconds: for how long the call rests; None if it does not rest.
    """

    def __init__(self, shared: DispatchContext, due: DueCall, call: ClaimedCall, adapter: Adapter) -> None:
        self._shared = shared
        self._limits = shared.limits
        self._pool = shared.pool
        self._tenant_id = due.tenant_id
        self._key = due.key
        self._call = call
        self._adapter = adapter
        self.heard: bool | None = None
        self.rest_seconds: float | None = None

    async def step(self) -> None:
        """Take the call one step further; in any case it is tried again or closed."""
        try:
            with step_span(self._tenant_id, self._call):
                await self._step()
        except (*CONNECTION_ERRORS, Refused) as error:
            # The lease will end, and the process that claims the call next finds out where it stands.
            log.warning("a call was left for later", error=repr(error), tenant_id=self._tenant_id)
        except Exception:
            log.exception(
                "a call was left for later", tenant_id=self._tenant_id, call_number=self._call.number
            )

    async def _step(self) -> None:
        owed = await self._owed()
        if owed is not None and owed.state is CallState.PENDING:
            # Nothing was ever sent, even if an older version wrote a first try at its claim: the provider's
            # memory of the key begins with the first request. Only a lost history may have sent the call.
            restarted = await outbox_store.restart(self._pool, self._key, self._call)
            if restarted is None:
                return
            self._call = restarted
            await self._report(CallBegun())
            owed = await self._owed()
        if owed is None or owed.done or (self._call.stop_reason is not None and owed.ended):
            await outbox_store.close(self._pool, self._key, self._call.number)
        elif self._call.stop_reason is not None:
            await self._leave_to_a_person(owed, self._call.stop_reason)
        elif owed.state is CallState.UNDER_WAY:
            await self._pursue(owed)
        elif owed.state in _LOOKED_FOR:
            await self._poll(owed)
        elif owed.state is CallState.PENDING:
            await self._put_off("it was not begun")
        else:
            await outbox_store.close(self._pool, self._key, self._call.number)

    async def _owed(self) -> Owed | None:
        """Return where the call stands by the payment's newest record."""
        async with self._pool.acquire() as connection:
            found = await payment_store.load_payments(connection, self._key, [self._call.payment])
            ids = await read_ids(connection, self._key)
        stored = found.get(self._call.payment)
        return None if stored is None else owed_of(ids, stored, self._call)

    async def _pursue(self, owed: Owed) -> None:
        """Make the call, after asking for the outcome of an earlier try if there may have been one.

        A call that its payment no longer waits for is never made: the payment is over and its money no longer
        held, or the provider has told of the object already.
        """
        if self._call.first_try_time is None and not owed.awaited and (owed.ended or not owed.heard):
            # Nothing was ever sent.
            await outbox_store.close(self._pool, self._key, self._call.number)
            return
        if self._call.first_try_time is not None or not owed.awaited:
            first_try = self._call.first_try_time or self._call.claim_time
            age = (self._call.claim_time - first_try).total_seconds()
            found = await self._look(owed)
            if isinstance(found, Accepted | NotOurs):
                await self._hear(owed, found)
                return
            # With a key that the provider may have forgotten, the call would make a new payment. While the
            # provider remembers the key, calling again is as safe as reading, and some providers can't be
            # asked about every object.
            memory = self._adapter.capabilities.idempotency_seconds
            late = age + self._limits.call_seconds + 2 * self._limits.proof_seconds >= memory
            if late or not owed.awaited:
                await self._only_look(owed, found=found, asked_after_seconds=age - memory)
                return
        proof = LeaseProof(
            self._pool,
            self._shared.clock,
            self._key,
            self._call,
            call_seconds=self._limits.call_seconds,
            margin_seconds=self._limits.proof_seconds,
            memory_seconds=self._adapter.capabilities.idempotency_seconds,
            gate=self._may_leave,
            instants=self._shared.instants,
        )
        with asking_span("make", self._call.provider, owed.call) as told:
            answer: Answer = await self._limited(self._adapter.call(owed.call, proof))
            told.append(type(answer).__name__)
        await self._hear(owed, self._judged(owed, answer))

    async def _may_leave(self) -> str:
        """Return why the call may not leave at present; events that came since it was read count as well."""
        stopped = await self._shared.gate()
        if stopped:
            return stopped
        owed = await self._owed()
        return "" if owed is not None and owed.awaited else "its payment does not wait for it any more"

    async def _look(self, owed: Owed) -> Accepted | NotFound | Unknown | NotOurs:
        """Ask the provider what became of the call."""
        with asking_span("look for", self._call.provider, owed.call) as told:
            found = await self._limited(self._adapter.find(owed.call, owed.provider_ref))
            told.append(type(found).__name__)
        if isinstance(found, Accepted):
            return self._checked(owed, found)
        return found

    def _judged(self, owed: Owed, answer: Answer) -> Answer:
        return self._checked(owed, answer) if isinstance(answer, Accepted) else answer

    def _checked(self, owed: Owed, answer: Accepted) -> Accepted | NotOurs:
        """Return the answer if its object is what we asked for, else NotOurs."""
        call = owed.call
        return judged(call, self._adapter.to_provider(call.amount, call.currency, call.kind), answer)

    async def _only_look(self, owed: Owed, *, found: NotFound | Unknown, asked_after_seconds: float) -> None:
        """Judge an object that was not found once the call may not be made again: never made, or unknown.

        Absence proves nothing while a request of ours may still be under way. The last try was begun early
        enough to be given up before the provider's memory of the key ended, and no try begins after that. So
        an absence that is seen a request's life after the memory's end is final for all tries. One look may
        be wrong, so there are two, some time apart, and the second also reads the provider's records, if
        those are complete. Any event about the object outweighs both looks: the object then exists and is
        looked for.

        Args:
            asked_after_seconds: how long after the memory's end the provider was asked.
        """
        late = asked_after_seconds >= self._limits.request_life_seconds
        if late and owed.ended and owed.heard:
            # The payment is over by the provider's events, so nothing waits for the answer any more.
            await outbox_store.close(self._pool, self._key, self._call.number)
            return
        if isinstance(found, NotFound) and late and not owed.heard:
            found = await self._second_proof(owed)
            if isinstance(found, NotFound):
                message = "the provider has nothing under this id, and no try can still be under way"
                await self._hear(owed, Declined(code=_NEVER_MADE, message=message))
                return
        elif isinstance(found, NotFound) and self._call.absent_time is not None:
            await outbox_store.set_absent(self._pool, self._key, self._call, None)
        why = found.reason if isinstance(found, Unknown) else "it is not there, which proves nothing yet"
        log.warning("a call may not be made again", why=why, tenant_id=self._tenant_id, call=owed.call.our_id)
        await self._rest(self._poll_pause(), why, at_least_seconds=_asked(found))

    async def _second_proof(self, owed: Owed) -> NotFound | Unknown:
        """Return whether a second look, long enough after the first, also proves absence."""
        first = self._call.absent_time
        second_look = timedelta(seconds=self._limits.second_look_seconds)
        if first is None:
            await outbox_store.set_absent(self._pool, self._key, self._call, self._call.claim_time)
            return Unknown(reason="it is not there, and is looked for once more")
        if self._call.claim_time - first < second_look:
            return Unknown(reason="it is not there, and is looked for once more")
        try:
            async with asyncio.timeout(self._limits.lease_seconds):
                return await listed_as_absent(self._adapter, owed.call)
        except TimeoutError:
            return Unknown(reason="the records could not be read in time")

    async def _limited(self, calling: Awaitable[_Answer]) -> _Answer | Unknown:
        """Await a provider for a bounded time; any error is Unknown, since the call may have taken effect."""
        try:
            async with asyncio.timeout(self._limits.call_seconds):
                answer: _Answer | Unknown = await calling
        except TimeoutError:
            answer = Unknown(reason="no answer in time", silent=True)
        except Exception as error:
            log.exception("an adapter failed")
            answer = Unknown(reason=repr(error))
        if not isinstance(answer, Unsent):
            self.heard = not (isinstance(answer, Unknown) and answer.silent)
        return answer

    async def _hear(self, owed: Owed, answer: Answer) -> None:
        """Record a provider's answer, however late it is and whichever process has the call by now."""
        metrics.CALLS.labels(kind=self._call.kind.name.lower(), answer=type(answer).__name__.lower()).inc()
        match answer:
            case Accepted():
                news = CallAccepted(provider_ref=answer.provider_ref, payment_url=answer.payment_url)
                await self._report(news)
                # Further objects under our id are reported in the same way: the rules see that there are
                # several.
                for other in answer.others:
                    if other.state is not RemoteState.FAILED:
                        await self._report(CallAccepted(provider_ref=other.provider_ref))
                await self._learn(owed, answer)
            case Declined():
                log.warning(
                    "a provider has refused a call, or nothing was ever made",
                    call=owed.call.our_id,
                    code=answer.code,
                )
                await self._report(CallRejected(reason=f"{answer.code}: {answer.message}"[:255]))
                await outbox_store.close(self._pool, self._key, self._call.number)
            case Unknown():
                await self._put_off(answer.reason, answer.retry_after_seconds)
            case Unsent():
                log.warning("a call was not sent", why=answer.reason, tenant_id=self._tenant_id)
                await self._rest(self._limits.first_back_off_seconds, answer.reason, counts=False)
            case NotOurs():
                await self._stop(owed, answer)

    async def _stop(self, owed: Owed, answer: NotOurs) -> None:
        """Leave a call to a person: the object at the provider under its id is not ours."""
        log.error(
            "a provider has something else than what was asked for; a person must decide",
            why=answer.reason,
            call=owed.call.our_id,
        )
        why = f"{answer.reason} ({answer.provider_ref or 'no object is named'})"
        # The stop comes first: if the process dies now, the next process that sees the call writes the
        # finding.
        await outbox_store.stop(self._pool, self._key, self._call, why)
        await self._find(owed, why)
        await self._rest(self._limits.max_poll_seconds, why)

    async def _leave_to_a_person(self, owed: Owed, why: str) -> None:
        """Keep the finding of a call that was stopped, and the call itself until its payment has ended."""
        await self._find(owed, why)
        await self._rest(self._limits.max_poll_seconds, why)

    async def _find(self, owed: Owed, why: str) -> None:
        command = ReportDiscrepancy(discrepancy=not_ours(owed, why), source=Source.PAYMENT)
        await self._submit(Request(command))

    async def _poll(self, owed: Owed) -> None:
        """Look at the object that the provider has taken on, in case its event was lost."""
        found = await self._look(owed)
        if isinstance(found, NotOurs):
            await self._hear(owed, found)
        elif isinstance(found, Accepted):
            await self._learn(owed, found)
        else:
            # Some providers can't be asked at all; then only the event tells, and the look is a formality.
            why = found.reason if isinstance(found, Unknown) else "the provider does not have what it took on"
            await self._rest(self._poll_pause(), why, at_least_seconds=_asked(found))

    async def _learn(self, owed: Owed, answer: Accepted) -> None:
        """Record a final state that was read; else look again later."""
        if not owed.polled:
            await outbox_store.close(self._pool, self._key, self._call.number)
        elif answer.state in _FINAL:
            await self._submit(polled_event(owed, answer, self._call.claim_time))
            left = await self._owed()
            if left is None or left.done:
                await outbox_store.close(self._pool, self._key, self._call.number)
            else:
                # The provider has another object whose end is not known.
                await self._rest(self._poll_pause(), None)
        else:
            await self._rest(self._poll_pause(), None)

    def _poll_pause(self) -> float:
        """Return the pause before the next look: twice as long each time, up to a bound."""
        doublings = min(self._call.rest_count, _MAX_DOUBLINGS)
        return min(self._limits.poll_seconds * 2.0**doublings, self._limits.max_poll_seconds)

    async def _report(self, news: CallNews) -> None:
        call = self._call
        command = ReportCall(kind=call.kind, payment=call.payment, subject=call.subject, news=news)
        await self._submit(Request(command))

    async def _submit(self, request: Request) -> None:
        [outcome] = await self._shared.ledger.submit(self._tenant_id, [request])
        if outcome.refused is not None:
            raise outcome.refused

    async def _put_off(self, why: str, at_least_seconds: float | None = None) -> None:
        """Try again later: the pause doubles up to a bound, and is at least what the provider asks for."""
        doublings = min(self._call.rest_count, _MAX_DOUBLINGS)
        pause = min(self._limits.first_back_off_seconds * 2**doublings, self._limits.max_back_off_seconds)
        shown = round(max(pause, at_least_seconds or 0.0), 1)
        log.warning("a call is tried again", why=why, tenant_id=self._tenant_id, in_seconds=shown)
        await self._rest(pause, why, at_least_seconds=at_least_seconds)

    async def _rest(
        self,
        pause: float,
        error: str | None,
        *,
        counts: bool = True,
        at_least_seconds: float | None = None,
    ) -> None:
        pause = spread(pause, at_least_seconds)
        now = None if self._shared.clock is None else self._shared.clock()
        self.rest_seconds = pause
        await outbox_store.rest(
            self._pool,
            self._key,
            self._call,
            now,
            pause=timedelta(seconds=pause),
            error=error,
            counts=counts,
        )


def _asked(found: Accepted | NotFound | Unknown) -> float | None:
    """Return what the provider asked for at least, if it did."""
    return found.retry_after_seconds if isinstance(found, Unknown) else None


def spread(
    pause: float, at_least: float | None, uniform: Callable[[float, float], float] = random.uniform
) -> float:
    """Return a pause with jitter, so that what rested together does not come back together.

    Args:
        pause: becomes up to a quarter shorter or longer.
        at_least: what the provider asked for (`Retry-After`), which becomes longer only; None: nothing.
        uniform: draws a number between two.
    """
    return max(pause * uniform(0.75, 1.25), (at_least or 0.0) * uniform(1.0, 1.25))
