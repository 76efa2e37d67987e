"""Owns the reads of the fake: what the server's queries answer, from what is in memory.

Each method answers like its original; the two are compared by `tests/clients/test_fake_and_server.py`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from defter_testing.ledger import NO_DATABASE, MemoryLedger
from defter_testing.pages import page_of
from defter_testing.tenants import MemoryTenant, Written
from ledger_server.domain.clock import Clock
from ledger_server.domain.errors import (
    AccountNotFound,
    HoldNotFound,
    NotYetRecorded,
    OutcomeNotFound,
    TransactionNotFound,
)
from ledger_server.domain.ids import TenantId, TenantIds, TenantKey, tenant_key
from ledger_server.domain.ledger.accounts import AccountKind, Counters
from ledger_server.domain.ledger.holds import Hold, expire
from ledger_server.domain.ledger.transactions import TransactionType
from ledger_server.domain.state.commands import RequestKey
from ledger_server.engine.reads.ledger import At, Reads, Span
from ledger_server.store.lane_store import Head
from ledger_server.store.ledger_rows import JournalRow
from ledger_server.store.queries.accounts import AccountFilter, AccountNow, without_due
from ledger_server.store.queries.holds import HoldFilter
from ledger_server.store.queries.journal import Entry
from ledger_server.store.queries.rendering import PAGE_BYTES, Page
from ledger_server.store.queries.statements import LinePosition, StatementLine
from ledger_server.store.queries.transactions import PostedRecord, TransactionFilter
from ledger_server.store.queries.trial_balance import TrialLine

# As of the server's reads by time: what is a little ahead may come at once, and much is final at once.
_NEAR_SECONDS: Final = 0.1
_LONGEST_HINT_SECONDS: Final = 60.0
_STEP: Final = timedelta(seconds=1)


class MemoryReads(Reads):
    """All reads of tenants, accounts, transactions, holds and the journal."""

    def __init__(self, ledger: MemoryLedger, clock: Clock) -> None:
        super().__init__(NO_DATABASE, clock)
        self.ledger: Final = ledger

    async def key_of(self, tenant_id: str) -> TenantKey:
        """Return the key of a tenant that exists. Raises TenantNotFound."""
        return self.ledger.tenant(tenant_id).key

    async def ids(self, tenant_id: str) -> TenantIds:
        """Return what reads and makes the ids of a tenant; plain ones where there is none."""
        tenant = self.ledger.tenants.get(tenant_id)
        return TenantIds(tenant_key(TenantId(tenant_id))) if tenant is None else tenant.ids

    async def tenant(self, tenant_id: str) -> Head:
        """Return a tenant with its head now. Raises TenantNotFound."""
        return self.ledger.tenant(tenant_id).head

    async def tenants(self, *, after: str, size: int, sees: Callable[[str], bool]) -> Page[Head, str]:
        """Return a page of those tenants, by id, that the caller sees."""
        shown = sorted(each for each in self.ledger.tenants if sees(each) and each > after)
        heads = (self.ledger.tenants[each].head for each in shown)
        return page_of(heads, size, lambda head: head.tenant_id, newest=0)._replace(sequence=None)

    async def find_accounts(self, tenant_id: str, account_ids: Sequence[str]) -> dict[str, AccountNow]:
        """Return those of the accounts that exist, with their counters now."""
        tenant = self.ledger.tenant(tenant_id)
        wanted = (each for each in account_ids if each in tenant.accounts)
        return {each: account_now(tenant, each, self.clock()) for each in wanted}

    async def list_accounts(
        self, tenant_id: str, wanted: AccountFilter, *, after: str, size: int
    ) -> Page[AccountNow, str]:
        """Return a page of accounts by id."""
        tenant, now = self.ledger.tenant(tenant_id), self.clock()
        found = (
            account_now(tenant, account_id, now)
            for account_id, account in sorted(tenant.accounts.items())
            if account_id > after
            and account_id.startswith(wanted.prefix)
            and wanted.kind in (None, account.kind)
            and wanted.currency in ("", account.currency)
            and wanted.state in (None, account.state)
        )
        return page_of(found, size, lambda each: each.account.account_id, newest=tenant.sequence)

    async def balance_at_time(self, tenant_id: str, account_id: str, moment: datetime) -> AccountNow:
        """Return an account as the ledger knew it at an instant."""
        tenant = self.ledger.tenant(tenant_id)
        self._make_final(tenant, moment)
        return _account_at(tenant, account_id, tenant.sequence_at(moment), moment)

    async def balance_at_sequence(self, tenant_id: str, account_id: str, sequence: int) -> AccountNow:
        """Return an account as a record left it."""
        tenant = self.ledger.tenant(tenant_id)
        if sequence > tenant.sequence:
            raise NotYetRecorded(head_sequence=tenant.sequence)
        return _account_at(tenant, account_id, sequence, tenant.records[sequence - 1].row.record_time)

    async def statement(
        self,
        tenant_id: str,
        account_id: str,
        span: Span,
        *,
        position: LinePosition | None,
        newest_first: bool,
        include_pending: bool,
        size: int,
    ) -> Page[StatementLine, LinePosition]:
        """Return a page of an account's lines, behind `position` in reading order."""
        tenant = self.ledger.tenant(tenant_id)
        low, high = await self.bounds(tenant_id, tenant.key, span)
        after, before = LinePosition(low + 1, -1), LinePosition(high, -1)
        if position is not None and newest_first:
            before = position
        elif position is not None:
            after = position
        written = tenant.lines.get(account_id, [])
        found = (
            _statement_line(tenant, account_id, index)
            for index in (reversed(range(len(written))) if newest_first else range(len(written)))
            if after < LinePosition(written[index].sequence, written[index].leg) < before
            and (include_pending or written[index].line.amount)
        )
        page = page_of(found, size, lambda line: line.position, newest=tenant.sequence)
        if not page.items:
            await self.accounts(tenant_id, [account_id])
        return page

    async def transaction(self, tenant_id: str, transaction_id: str) -> At[PostedRecord]:
        """Return a transaction. Raises TransactionNotFound."""
        tenant = self.ledger.tenant(tenant_id)
        sequence = tenant.ids.transaction_sequence(transaction_id)
        if sequence is None or not 1 <= sequence <= tenant.sequence:
            raise TransactionNotFound(transaction_id=transaction_id)
        written = tenant.records[sequence - 1]
        if written.columns["transaction_type"] is None:
            raise TransactionNotFound(transaction_id=transaction_id)
        reversed_by = tenant.reversed_by.get(sequence)
        return At(PostedRecord(sequence, written.row.record, reversed_by), tenant.sequence)

    async def list_transactions(
        self,
        tenant_id: str,
        wanted: TransactionFilter,
        span: Span,
        *,
        position: int | None,
        newest_first: bool,
        size: int,
    ) -> Page[PostedRecord, int]:
        """Return a page of transactions by sequence, behind `position` in reading order."""
        tenant = self.ledger.tenant(tenant_id)
        low, high = await self.bounds(tenant_id, tenant.key, span)
        found = (
            PostedRecord(written.row.sequence, written.row.record)
            for written in _between(tenant.records, low, high, position, newest_first=newest_first)
            if _is_wanted(written, wanted)
        )
        return page_of(
            found,
            size,
            lambda each: each.sequence,
            newest=tenant.sequence,
            bytes_of=lambda each: len(each.record),
        )

    async def hold(self, tenant_id: str, hold_id: str) -> At[Hold]:
        """Return a hold as it stands now. Raises HoldNotFound."""
        tenant = self.ledger.tenant(tenant_id)
        number = tenant.ids.hold_sequence(hold_id)
        found = None if number is None else tenant.holds.get(number)
        if found is None:
            raise HoldNotFound(hold_id=hold_id)
        return At(_hold_now(tenant, found, self.clock()), tenant.sequence)

    async def list_holds(
        self, tenant_id: str, wanted: HoldFilter, *, position: int | None, newest_first: bool, size: int
    ) -> Page[Hold, int]:
        """Return a page of holds in the order of their placing, as they stand now."""
        tenant, now = self.ledger.tenant(tenant_id), self.clock()
        numbers = sorted(tenant.holds, reverse=newest_first)
        if position is not None:
            numbers = [each for each in numbers if (each < position if newest_first else each > position)]
        found = (
            hold
            for hold in (_hold_now(tenant, tenant.holds[number], now) for number in numbers)
            if wanted.account_id in ("", hold.debit_account_id, hold.credit_account_id)
            and wanted.state in (None, hold.state)
            and (wanted.expire_before is None or _is_before(hold.expire_time, wanted.expire_before))
            and (hold.limit_breached or not wanted.only_limit_breached)
        )
        return page_of(found, size, lambda hold: hold.number, newest=tenant.sequence)

    async def entries(self, tenant_id: str, *, after: int, size: int) -> Page[Entry, int]:
        """Return a page of the journal."""
        tenant = self.ledger.tenant(tenant_id)
        page = entries_after(tenant, after, limit=size)
        more = bool(page) and page[-1].sequence < tenant.sequence
        return Page(page, page[-1].sequence if more else None, tenant.sequence)

    async def outcome(self, tenant_id: str, request: RequestKey) -> At[Entry]:
        """Return what was decided for an idempotency key. Raises OutcomeNotFound."""
        tenant = self.ledger.tenant(tenant_id)
        row = tenant.outcome(request)
        if row is None:
            raise OutcomeNotFound(idempotency_key=request.idempotency_key, method=request.method.name)
        return At(_entry(row), tenant.sequence)

    async def trial_balance(self, tenant_id: str) -> tuple[int, list[TrialLine]]:
        """Return the sums by currency and kind, and the newest sequence that they include."""
        tenant, now = self.ledger.tenant(tenant_id), self.clock()
        sums: dict[tuple[str, AccountKind], list[Counters]] = defaultdict(list)
        for account_id, account in tenant.accounts.items():
            sums[account.currency, account.kind].append(account_now(tenant, account_id, now).counters)
        return tenant.sequence, [
            TrialLine(
                currency=currency,
                kind=kind,
                account_count=len(counters),
                posted_debits=sum(each.posted_debits for each in counters),
                posted_credits=sum(each.posted_credits for each in counters),
                pending_debits=sum(each.pending_debits for each in counters),
                pending_credits=sum(each.pending_credits for each in counters),
            )
            for (currency, kind), counters in sorted(sums.items(), key=lambda each: each[0])
        ]

    async def record_time(self, tenant_id: str, sequence: int) -> datetime:
        """Return when a record was written. Raises NotYetRecorded where there is none yet."""
        tenant = self.ledger.tenant(tenant_id)
        if not 1 <= sequence <= tenant.sequence:
            raise NotYetRecorded(head_sequence=tenant.sequence)
        return tenant.records[sequence - 1].row.record_time

    async def _sequence_at(self, tenant_id: str, _: TenantKey, moment: datetime) -> int:
        tenant = self.ledger.tenant(tenant_id)
        self._make_final(tenant, moment)
        return tenant.sequence_at(moment)

    def _make_final(self, tenant: MemoryTenant, moment: datetime) -> None:
        """Let no further record be of an instant or of an earlier one.

        Raises:
            NotYetRecorded: the instant lies in the future.
        """
        final = tenant.final
        if final.includes(moment):
            return
        now = max(self.clock(), final.head_time)
        ahead = (moment - now).total_seconds()
        if ahead > 0:
            hint = ahead if ahead <= _LONGEST_HINT_SECONDS else None
            near = 1.0 if ahead <= _NEAR_SECONDS else hint
            raise NotYetRecorded(head_sequence=final.head_sequence, retry_seconds=near)
        tenant.final_time = max(moment, now - _STEP)


def account_now(tenant: MemoryTenant, account_id: str, now: datetime) -> AccountNow:
    """Return an account that exists; holds that are due count as released."""
    counters = _without_due(
        tenant.counters(account_id), tenant.holds, account_id, max(now, tenant.record_time)
    )
    return AccountNow(tenant.accounts[account_id], counters, tenant.sequence)


def entries_after(
    tenant: MemoryTenant, sequence: int, *, limit: int, size_bytes: int = PAGE_BYTES
) -> list[Entry]:
    """Return the entries that follow a sequence: at least one if there is one, and up to so many bytes."""
    found: list[Entry] = []
    taken = 0
    for written in tenant.records[sequence : sequence + limit]:
        taken += len(written.row.record)
        if found and taken > size_bytes:
            break
        found.append(_entry(written.row))
    return found


def _account_at(tenant: MemoryTenant, account_id: str, sequence: int, moment: datetime) -> AccountNow:
    account = tenant.accounts.get(account_id)
    if account is None or account.number > sequence:
        raise AccountNotFound(account_id=account_id)
    counters = _without_due(
        tenant.counters(account_id, sequence), tenant.holds_at(sequence), account_id, moment
    )
    return AccountNow(account, counters, sequence)


def _without_due(counters: Counters, holds: Mapping[int, Hold], account_id: str, now: datetime) -> Counters:
    due = [hold for hold in holds.values() if hold.due(now)]
    debits = sum(hold.remaining for hold in due if hold.debit_account_id == account_id)
    credits_ = sum(hold.remaining for hold in due if hold.credit_account_id == account_id)
    return without_due(counters, debits, credits_)


def _statement_line(tenant: MemoryTenant, account_id: str, index: int) -> StatementLine:
    written = tenant.lines[account_id][index]
    line, record = written.line, tenant.records[written.sequence - 1]
    return StatementLine(
        position=LinePosition(written.sequence, written.leg),
        account_kind=line.account.kind,
        phase=line.phase,
        direction=line.direction,
        amount=line.amount,
        pending_change=line.pending_change,
        after=line.after,
        type=TransactionType(record.columns["transaction_type"]) if line.amount else None,
        reference=record.columns["reference"] or "",
        effective_time=record.columns["effective_time"],
        record_time=record.row.record_time,
        hold_record=None if line.amount else record.row.record,
    )


def _between(
    records: Sequence[Written], low: int, high: int, position: int | None, *, newest_first: bool
) -> Iterator[Written]:
    """Return the records between two sequences, both exclusive, and behind a position in reading order."""
    if position is not None and newest_first:
        high = min(high, position)
    elif position is not None:
        low = max(low, position)
    found = records[low : max(min(high - 1, len(records)), 0)]
    return iter(reversed(found)) if newest_first else iter(found)


def _is_wanted(written: Written, wanted: TransactionFilter) -> bool:
    kind = written.columns["transaction_type"]
    return (
        kind is not None
        and wanted.type in (None, kind)
        and wanted.reference in ("", written.columns["reference"])
        and (written.columns["limit_breached"] or not wanted.only_limit_breached)
        and (
            not wanted.account_id
            or any(
                line.account.account_id == wanted.account_id and line.amount
                for line in getattr(written.row.fact, "lines", ())
            )
        )
    )


def _hold_now(tenant: MemoryTenant, hold: Hold, now: datetime) -> Hold:
    return expire(hold) if hold.due(max(now, tenant.record_time)) else hold


def _is_before(time: datetime | None, bound: datetime) -> bool:
    return time is not None and time < bound


def _entry(row: JournalRow) -> Entry:
    return Entry(row.sequence, row.record, row.chain_hash)
