"""Owns a batch: commands decided in order against a working set, and the rows that they write."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from typing import Final

from defter.ledger.v1 import journal_pb2
from msgspec import Struct
from msgspec.structs import replace

from ledger_server.domain.decisions.continuation import carry
from ledger_server.domain.decisions.decide import Decision, decide
from ledger_server.domain.decisions.ledger import expire
from ledger_server.domain.errors import BatchAborted, IdempotencyKeyReused, Internal
from ledger_server.domain.ids import TenantIds
from ledger_server.domain.state.commands import Command, ExpireHolds, NamedCaller, RequestKey
from ledger_server.domain.state.facts import (
    AccountChanged,
    EpochBegun,
    Fact,
    FactKind,
    HoldCaptured,
    HoldChanged,
    RequestRejected,
    TransactionPosted,
)
from ledger_server.domain.state.working_set import FindingNotLoaded, WorkingSet
from ledger_server.engine.incidents import report
from ledger_server.engine.lane.work import Outcome, Request, Work
from ledger_server.engine.records.journal import RecordEncoder, chain, content_of
from ledger_server.store.lane_store import StoredOutcome
from ledger_server.store.lane_writes import Start
from ledger_server.store.ledger_rows import JournalRow


class Decided(Struct, frozen=True, gc=False):
    """The outcome of a request that is not yet committed."""

    digest: bytes | None
    outcome: Outcome


Found = Mapping[RequestKey, StoredOutcome] | None
LoadFinding = Callable[[bytes], Awaitable[None]]
"""Reads a finding into the working set, by its fingerprint."""


class LookUpFirst(Exception):
    """Work can't be decided before its keys have been looked up."""


class Tip:
    """The end of the chain as far as it has been decided, and the keys that were decided on the way."""

    __slots__ = ("chain_hash", "epoch", "undone", "working_set")

    def __init__(self, working_set: WorkingSet, chain_hash: bytes, epoch: str = "") -> None:
        self.working_set = working_set
        # The database's epoch when the head was read.
        self.epoch = epoch
        self.chain_hash = chain_hash
        self.undone: dict[RequestKey, Decided] = {}

    @property
    def stands(self) -> Start:
        """Where the next batch begins."""
        return Start(self.working_set.sequence, self.chain_hash, self.epoch)


class Batch:
    """What is written in one commit."""

    __slots__ = (
        "_encoder",
        "_load_finding",
        "_tip",
        "_work_since",
        "account_numbers",
        "final_time",
        "keys",
        "open_time",
        "request_count",
        "rows",
        "size",
        "stamp",
        "start",
        "unproven",
        "works",
    )

    def __init__(self, tip: Tip, encoder: RecordEncoder, load_finding: LoadFinding) -> None:
        # Entries that are used from here on belong to this batch, until it is closed.
        self.stamp = tip.working_set.stamp
        self.start = tip.stands
        self.rows: list[JournalRow] = []
        self.works: list[Work] = []
        # Whether something was decided that writes nothing, so that no commit proves what it was based on.
        self.unproven = False
        self.request_count = 0
        # By the machine's monotonic clock: when the first decision began.
        self.open_time = time.monotonic()
        # In bytes: of the requests, and of the records that came of them.
        self.size = 0
        self._work_since = 0
        self.keys: list[RequestKey] = []
        self.account_numbers: dict[str, int] = {}
        # What the commit makes final beyond its own records, if anything.
        self.final_time: datetime | None = None
        self._tip = tip
        self._encoder = encoder
        self._load_finding = load_finding

    @property
    def ids(self) -> TenantIds:
        """The names of what the batch is about."""
        return self._tip.working_set.ids

    def close(self) -> None:
        """Take no more work; from here on the batch may have been committed."""
        self._tip.working_set.stamp += 1
        for work in self.works:
            work.begun = True

    def begin_epoch(self, now: datetime) -> None:
        """Record the database's epoch where the tenant's records have carried another one so far."""
        if self._tip.epoch and self._tip.epoch != self._tip.working_set.ids.newest_epoch:
            self._add(EpochBegun(FactKind.EPOCH_BEGUN, self._tip.epoch), _UNASKED, None, now)

    def expire_due(
        self, account_ids: Iterable[str], now: datetime, *, at_most: int, size_bytes: int, more: bool
    ) -> bool:
        """Record the end of loaded holds on these accounts whose time has come, the oldest first.

        Returns whether some stay that are due as well; then nothing else may change their accounts yet.

        Args:
            size_bytes: of the batch, from which on no further hold is expired; one always is.
            more: whether some stay that are not loaded.
        """
        working_set = self._tip.working_set
        due = working_set.due_holds(account_ids, now)[:at_most]
        for index, hold in enumerate(due):
            if index and self.size >= size_bytes:
                for left in due[index:]:
                    working_set.watch_expiry(left)  # loading them has taken the watch off their accounts
                return True
            self._add(expire(working_set, hold), _UNASKED, None, now)
        if not more:
            for account_id in sorted(account_ids):
                self._carry(account_id, now)
        return more

    async def decide(self, work: Work, now: datetime, found: Found) -> None:
        """Decide all requests of a work; one request's rejection never disturbs its neighbours.

        A work may have a thousand requests with a thousand postings each in the end, so the event loop has
        turns in between; the tip belongs to the lane, so nothing else changes it meanwhile.

        Args:
            found: what earlier commits have decided for the requests' keys; None where that was not
                looked up, because the unique index on the keys will tell.
        Raises:
            LookUpFirst: the index would not tell; the batch is spoilt.
        """
        self.size += work.size
        first = len(self.rows)
        if work.atomic:
            work.outcomes = await self._decide_atomically(work, now, found)
        else:
            outcomes = []
            for request in work.requests:
                outcomes.append(await self._decide(request, work.caller, now, found))
                if self._work_since >= _BREATH:
                    await self._breathe()
            work.outcomes = outcomes
        if work.place is not None:
            work.rows = self.rows[first:]
        self.works.append(work)
        self.request_count += len(work.requests)

    async def _breathe(self) -> None:
        """Let others have a turn."""
        self._work_since = 0
        await asyncio.sleep(0)

    async def _decide(
        self, request: Request, caller: NamedCaller | None, now: datetime, found: Found
    ) -> Outcome:
        known = self._known(request, found)
        if known is not None:
            return known
        decision = await self._decision(request.command, now)
        if isinstance(decision, Internal):
            return Outcome(None, refused=decision)
        return self._add_all(decision, request, caller, now)

    async def _decision(self, command: Command, now: datetime) -> Decision | Internal:
        try:
            decision = decide(self._tip.working_set, command, now)
        except FindingNotLoaded as missing:
            await self._load_finding(missing.fingerprint)
            return await self._decision(command, now)
        except Exception as error:  # noqa: BLE001  # whatever it is, somebody waits for an answer
            # Deciding changes nothing, so a fault in a rule fails this request and no other.
            return report(error, "a decision failed", command=type(command).__name__)
        if decision.fault is not None:
            report(decision.fault, "what was told could not be booked", command=type(command).__name__)
        return decision

    def _add_all(
        self, decision: Decision, request: Request, caller: NamedCaller | None, now: datetime
    ) -> Outcome:
        """Let all facts of a decision take effect, each with the caller; one gets the request's key."""
        if len(decision.facts) == 1 and decision.answer == 0:  # nearly all of them
            return self._add(decision.facts[0], request, caller, now)
        outcome = Outcome(None)  # a report without news
        self.unproven = self.unproven or not decision.facts
        for place, fact in enumerate(decision.facts):
            if place == decision.answer:
                outcome = self._add(fact, request, caller, now)
            else:
                self._add(fact, _UNASKED, caller, now)
        return outcome

    def _carry(self, account_id: str, now: datetime) -> None:
        moved = carry(self._tip.working_set, account_id, now)
        if moved is not None:
            self._add(moved, _UNASKED, None, now)

    async def _decide_atomically(self, work: Work, now: datetime, found: Found) -> list[Outcome]:
        """Decide all or none: the refused item keeps its refusal, the others' keys stay unused."""
        requests, caller = work.requests, work.caller
        tip = self._tip
        rows, keys, chain_hash = len(self.rows), len(self.keys), tip.chain_hash
        tip.working_set.begin_atomic()
        outcomes: list[Outcome] = []
        for index, request in enumerate(requests):
            if self._work_since >= _BREATH:
                await self._breathe()
            outcome = self._known(request, found)
            refusal: Decision | None = None
            if outcome is None:
                decision = await self._decision(request.command, now)
                if isinstance(decision, Internal):
                    outcome = Outcome(None, refused=decision)
                elif any(isinstance(fact, RequestRejected) for fact in decision.facts):
                    refusal = decision
                else:
                    outcome = self._add_all(decision, request, caller, now)
            if outcome is not None and not outcome.rejected:
                outcomes.append(outcome)
                continue
            if found is None:
                # Only the refused item's key would meet the index. Another item may be a retry, whose
                # effect was counted twice just now and may be the very cause of the refusal.
                raise LookUpFirst
            tip.working_set.undo_atomic()
            tip.chain_hash = chain_hash
            self.size -= sum(len(row.record) for row in self.rows[rows:])
            del self.rows[rows:]
            for key in self.keys[keys:]:
                del tip.undone[key]
            del self.keys[keys:]
            if refusal is not None:
                outcome = self._add_all(refusal, request, caller, now)
            aborted = [Outcome(None, refused=BatchAborted(index=index)) for _ in requests]
            aborted[index] = outcome or aborted[index]
            return aborted
        tip.working_set.end_atomic()
        return outcomes

    def _known(self, request: Request, found: Found) -> Outcome | None:
        """Return the outcome that the request's key has already, if any."""
        if request.key is None:
            return None
        decided = self._tip.undone.get(request.key)
        if decided is None:
            stored = found.get(request.key) if found is not None else None
            if stored is None:
                return None
            if stored.record is None or stored.digest != request.digest:
                return _reused(request.key)
            record = journal_pb2.JournalRecord.FromString(stored.record)
            decided = Decided(stored.digest, Outcome(*content_of(record), record.sequence))
        if decided.digest != request.digest:
            return _reused(request.key)
        return replace(decided.outcome, replayed=True)

    def _add(self, fact: Fact, request: Request, caller: NamedCaller | None, now: datetime) -> Outcome:
        """Let a fact take effect and append its record. From here on nothing may be refused."""
        tip = self._tip
        working_set = tip.working_set
        working_set.apply(fact)
        working_set.record_time = now
        sequence = working_set.sequence
        key, digest = request.key, request.digest
        content, record = self._encoder.encode(
            fact, sequence=sequence, record_time=now, request=key, digest=digest, caller=caller
        )
        self.size += len(record)
        self._work_since += 1 + len(getattr(fact, "lines", ()))
        tip.chain_hash = chain(tip.chain_hash, record)
        self.rows.append(JournalRow(sequence, fact, key, digest, now, record, tip.chain_hash, content))
        outcome = Outcome(fact.kind, content, sequence)
        if key is not None:
            tip.undone[key] = Decided(digest, outcome)
            self.keys.append(key)
        if type(fact) not in _WITHOUT_HOLD and isinstance(fact, HoldChanged | HoldCaptured):
            self._name_accounts(fact.hold.debit_account_id, fact.hold.credit_account_id)
        return outcome

    def _name_accounts(self, *account_ids: str) -> None:
        for account_id in account_ids:
            account = self._tip.working_set.accounts[account_id].account
            if account is not None:
                self.account_numbers[account_id] = account.number


def _reused(key: RequestKey) -> Outcome:
    return Outcome(
        None,
        refused=IdempotencyKeyReused(idempotency_key=key.idempotency_key, method=key.method.name),
    )


# Records and statement lines after which others have a turn: about a millisecond.
_BREATH: Final = 32
# The most frequent facts; none of them changes a hold.
_WITHOUT_HOLD: Final = frozenset({TransactionPosted, AccountChanged})
# Of facts that nobody has asked for.
_UNASKED: Final = Request(ExpireHolds(numbers=()))
