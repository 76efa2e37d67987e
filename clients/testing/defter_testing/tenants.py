"""Owns what a tenant has in memory: its journal, and what follows from the journal for reads."""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from ledger_server.domain.adjustments.adjustment import NO_ADJUSTMENT_POLICY, Adjustment
from ledger_server.domain.ids import TenantId, TenantIds, tenant_key
from ledger_server.domain.ledger.accounts import ZERO, Account, Counters
from ledger_server.domain.ledger.holds import Hold
from ledger_server.domain.ledger.transactions import Line
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.events import EventState, StoredEvent
from ledger_server.domain.payments.names import names_of
from ledger_server.domain.payments.withdrawal import NO_POLICY, Withdrawal
from ledger_server.domain.state.commands import RequestKey
from ledger_server.domain.state.facts import (
    AccountChanged,
    AccountContinued,
    AdjustmentChanged,
    AdjustmentPolicySet,
    DepositChanged,
    EnforcementChanged,
    EventRecorded,
    HoldCaptured,
    HoldChanged,
    TransactionPosted,
    WithdrawalChanged,
    WithdrawalPolicySet,
)
from ledger_server.domain.state.working_set import FindingEntry, WorkingSet
from ledger_server.engine.lane.batch import Tip
from ledger_server.engine.lane.work import Request, Work
from ledger_server.engine.records.journal import RecordEncoder
from ledger_server.store.final_time import FinalUntil
from ledger_server.store.lane_store import Head, StoredOutcome
from ledger_server.store.ledger_rows import JOURNAL, JournalRow, journal_rows
from ledger_server.store.payment_rows import DEPOSIT, WITHDRAWAL


class Written(NamedTuple):
    """A record, and the columns that the server's journal has of it."""

    row: JournalRow
    columns: Mapping[str, Any]


class WrittenLine(NamedTuple):
    """A statement line of an account, and where it stands."""

    sequence: int
    leg: int
    line: Line


class WrittenPayment(NamedTuple):
    """A payment as its newest record has it; `kind` is `payment_rows.DEPOSIT` or `WITHDRAWAL`."""

    kind: int
    payment: Deposit | Withdrawal
    body: bytes
    changed_by: int


class WrittenEvent(NamedTuple):
    """A provider's event as its newest record has it, and the payload that came with the first."""

    stored: StoredEvent
    body: bytes
    payload: bytes


class WrittenAdjustment(NamedTuple):
    """An adjustment as it stands, and its message."""

    adjustment: Adjustment
    body: bytes


class MemoryTenant:
    """A tenant: what is decided (the tip), what is written, and the work that waits.

    Reads see what is written alone, so no half of a batch can be read.
    """

    def __init__(self, tenant_id: str, first: JournalRow, epoch: str) -> None:
        fact = first.fact
        assert isinstance(fact, EnforcementChanged)
        self.tenant_id: Final = tenant_id
        self.key: Final = tenant_key(TenantId(tenant_id))
        self.ids: Final = TenantIds(self.key)
        self.encoder: Final = RecordEncoder(tenant_id, self.ids)
        working_set = WorkingSet(
            self.ids,
            sequence=first.sequence,
            record_time=first.record_time,
            enforcement=fact.enforcement,
            create_time=fact.create_time,
        )
        self.tip: Final = Tip(working_set, first.chain_hash, epoch)
        self.waiting: Final[deque[Work]] = deque()
        self.is_running = False
        self.final_time: datetime | None = None
        self.records: Final[list[Written]] = []
        self.accounts: Final[dict[str, Account]] = {}
        self.lines: Final[dict[str, list[WrittenLine]]] = {}
        self.holds: Final[dict[int, Hold]] = {}
        self.reversed_by: Final[dict[int, int]] = {}
        self.payments: Final[dict[int, WrittenPayment]] = {}
        self.refs: Final[dict[tuple[str, str], int]] = {}
        self.events: Final[dict[int, WrittenEvent]] = {}
        self._create_time = fact.create_time
        self._enforcement = fact.enforcement
        self._policy = NO_POLICY
        self.adjustments: Final[dict[int, WrittenAdjustment]] = {}
        self._adjustment_policy = NO_ADJUSTMENT_POLICY
        self._decided: dict[RequestKey, JournalRow] = {}
        self.write([first])

    async def load_finding(self, fingerprint: bytes) -> None:
        """Say that there is no such finding: this tenant forgets nothing, so it would be known."""
        known = self.tip.working_set
        known.findings[fingerprint] = FindingEntry(None, known.stamp)

    @property
    def sequence(self) -> int:
        """The newest record."""
        return len(self.records)

    @property
    def record_time(self) -> datetime:
        """The time of the newest record."""
        return self.records[-1].row.record_time

    @property
    def earliest_time(self) -> datetime:
        """The earliest time that the next record may have."""
        return self.head.earliest_time

    @property
    def head(self) -> Head:
        """The head, as the server's tenants have it."""
        newest = self.records[-1].row
        return Head(
            tenant_id=self.tenant_id,
            sequence=newest.sequence,
            chain_hash=newest.chain_hash,
            record_time=newest.record_time,
            enforcement=self._enforcement,
            create_time=self._create_time,
            policy=self._policy,
            adjustment_policy=self._adjustment_policy,
            epochs=self.ids.epochs,
            epoch=self.tip.epoch,
            final_time=self.final_time,
        )

    @property
    def final(self) -> FinalUntil:
        """How far the journal is final."""
        return FinalUntil(self.sequence, self.record_time, self.final_time)

    @property
    def parked(self) -> Iterator[WrittenEvent]:
        """The events that wait for their payment."""
        return (each for each in self.events.values() if each.stored.state is EventState.PARKED)

    def write(self, rows: Iterable[JournalRow]) -> None:
        """Append the records of a commit."""
        for row in rows:
            [columns] = journal_rows([row])
            self.records.append(Written(row, dict(zip(JOURNAL, columns, strict=True))))
            if row.request is not None:
                self._decided[row.request] = row
            for leg, line in enumerate(getattr(row.fact, "lines", ())):
                lines = self.lines.setdefault(line.account.account_id, [])
                lines.append(WrittenLine(row.sequence, leg, line))
            self._follow(row)

    def found(self, requests: Sequence[Request]) -> Mapping[RequestKey, StoredOutcome]:
        """Return what was decided before for these requests."""
        found: dict[RequestKey, StoredOutcome] = {}
        for request in requests:
            row = None if request.key is None else self._decided.get(request.key)
            if request.key is not None and row is not None and row.digest is not None:
                record = row.record if row.digest == request.digest else None
                if record is not None or request.key not in found:
                    found[request.key] = StoredOutcome(row.digest, record)
        return found

    def outcome(self, request: RequestKey) -> JournalRow | None:
        """Return the record that was decided for an idempotency key."""
        return self._decided.get(request)

    def sequence_at(self, moment: datetime) -> int:
        """Return the newest record at or before an instant; 0 for none."""
        return bisect_right(self.records, moment, key=lambda written: written.row.record_time)

    def counters(self, account_id: str, sequence: int | None = None) -> Counters:
        """Return an account's counters now, or as a record left them."""
        lines = self.lines.get(account_id, [])
        count = len(lines)
        if sequence is not None:
            count = bisect_right(lines, sequence, key=lambda written: written.sequence)
        return lines[count - 1].line.after if count else ZERO

    def holds_at(self, sequence: int) -> Mapping[int, Hold]:
        """Return all holds as a record left them."""
        found: dict[int, Hold] = {}
        for written in self.records[:sequence]:
            if isinstance(written.row.fact, HoldChanged | HoldCaptured):
                found[written.row.fact.hold.number] = written.row.fact.hold
        return found

    def _follow(self, row: JournalRow) -> None:
        match row.fact:
            case AccountChanged(account=account):
                self.accounts[account.account_id] = account
            case AccountContinued(account=account, successor=successor):
                self.accounts[account.account_id] = account
                self.accounts[successor.account_id] = successor
            case HoldChanged(hold=hold) | HoldCaptured(hold=hold):
                self.holds[hold.number] = hold
            case TransactionPosted(transaction=transaction):
                if transaction.reverses is not None:
                    self.reversed_by[transaction.reverses] = row.sequence
            case EnforcementChanged(enforcement=enforcement):
                self._enforcement = enforcement
            case DepositChanged(deposit=deposit):
                self._pay(DEPOSIT, deposit, row)
            case WithdrawalChanged(withdrawal=withdrawal):
                self._pay(WITHDRAWAL, withdrawal, row)
            case EventRecorded(stored=stored):
                known = self.events.get(stored.number)
                payload = stored.event.payload if known is None else known.payload
                self.events[stored.number] = WrittenEvent(stored, row.content, payload)
            case WithdrawalPolicySet(policy=policy):
                self._policy = policy
            case AdjustmentChanged() | AdjustmentPolicySet():
                self._adjust(row.fact, row.content)
            case _:
                pass  # the journal alone tells of it

    def _adjust(self, fact: AdjustmentChanged | AdjustmentPolicySet, body: bytes) -> None:
        if isinstance(fact, AdjustmentPolicySet):
            self._adjustment_policy = fact.policy
        else:
            self.adjustments[fact.adjustment.number] = WrittenAdjustment(fact.adjustment, body)

    def _pay(self, kind: int, payment: Deposit | Withdrawal, row: JournalRow) -> None:
        self.payments[payment.number] = WrittenPayment(kind, payment, row.content, row.sequence)
        for name in names_of(payment):
            self.refs.setdefault((payment.provider, name), payment.number)
