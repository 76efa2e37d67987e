"""Owns the entry to all reads of the ledger: which tenant, as of when, and what is refused."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, Generic, NamedTuple, TypeVar

from ledger_server.domain.clock import Clock
from ledger_server.domain.errors import (
    AccountNotFound,
    HoldNotFound,
    NotYetRecorded,
    OutcomeNotFound,
    TenantNotFound,
    TransactionNotFound,
)
from ledger_server.domain.ids import TenantId, TenantIds, TenantKey, tenant_key
from ledger_server.domain.ledger.holds import Hold
from ledger_server.domain.state.commands import RequestKey
from ledger_server.engine.courtesy import Courtesy
from ledger_server.engine.fair_gate import FairGate, Flow
from ledger_server.engine.reads.finality import NO_WRITER, Finality, Writer
from ledger_server.store.database import LOST_CONNECTION, AnyConnection, Pool
from ledger_server.store.database_clock import known
from ledger_server.store.lane_store import Head, read_head, read_ids
from ledger_server.store.queries import accounts, balances, holds, journal, statements, tenants, transactions
from ledger_server.store.queries.accounts import AccountFilter, AccountNow
from ledger_server.store.queries.balances import BalanceAt
from ledger_server.store.queries.holds import HoldFilter
from ledger_server.store.queries.journal import Entry, SequenceAt
from ledger_server.store.queries.rendering import Page
from ledger_server.store.queries.statements import LinePosition, StatementLine
from ledger_server.store.queries.transactions import PostedRecord, TransactionFilter
from ledger_server.store.queries.trial_balance import TrialLine, trial_balance

_KNOWN_TENANTS: Final = 10_000
_TRIES: Final = 3
_PATIENCE_SECONDS: Final = 10.0
_INSTANT: Final = timedelta(microseconds=1)

_Found = TypeVar("_Found")
_Position = TypeVar("_Position")
_AtTime = TypeVar("_AtTime", bound=BalanceAt | SequenceAt)


class At(NamedTuple, Generic[_Found]):
    """What was read of a tenant, and the newest record at that moment; nothing behind that was read."""

    found: _Found
    sequence: int


class Span:
    """A stretch of the journal by record time: at or after `start`, before `end`; None is unbounded."""

    __slots__ = ("end", "start")

    def __init__(self, start: datetime | None = None, end: datetime | None = None) -> None:
        self.start = start
        self.end = end


class Reads:
    """All reads of one process; each sees one moment of the database."""

    def __init__(
        self,
        pool: Pool,
        clock: Clock,
        *,
        writer: Writer = NO_WRITER,
        courtesy: Courtesy | None = None,
    ) -> None:
        """Take a pool and a clock.

        Args:
            writer: what this process writes with.
            courtesy: by what long reads give way; None: there is nobody for whom they would.
        """
        self.courtesy: Final = courtesy or Courtesy()
        self.pool: Final = pool
        # No tenant has more than half of the connections, however many reads of it wait or stand still.
        self._shares = FairGate(max(pool.get_max_size() // 2, 1))
        self.clock: Final = clock
        self.finality: Final = Finality(self.run, clock, writer)
        # Tenants are never deleted, so what was found once need not be looked for again.
        self._known: OrderedDict[str, TenantKey] = OrderedDict()

    async def key_of(self, tenant_id: str) -> TenantKey:
        """Return the key of a tenant that exists. Raises TenantNotFound."""
        key = self._known.get(tenant_id)
        if key is not None:
            self._known.move_to_end(tenant_id)
            return key
        await self.tenant(tenant_id)
        return self._known[tenant_id]

    async def ids(self, tenant_id: str) -> TenantIds:
        """Return what reads and makes the ids of a tenant in this history; plain ones where there is none."""
        key = tenant_key(TenantId(tenant_id))
        return await self.run(lambda connection: read_ids(connection, key), tenant=key)

    async def tenant(self, tenant_id: str) -> Head:
        """Return a tenant with its head now. Raises TenantNotFound."""
        key = tenant_key(TenantId(tenant_id))
        head = await self.run(
            lambda connection: read_head(connection, key, lock=False),
            tenant=key,
            seen=lambda found: None if found is None else found.sequence,
        )
        if head is None or head.tenant_id != tenant_id:
            raise TenantNotFound(tenant_id=tenant_id)
        self._known[tenant_id] = key
        if len(self._known) > _KNOWN_TENANTS:
            self._known.popitem(last=False)
        return head

    async def tenants(self, *, after: str, size: int, sees: Callable[[str], bool]) -> Page[Head, str]:
        """Return a page of those tenants, by id, that the caller sees."""
        return await self.run(
            lambda connection: tenants.list_tenants(connection, after=after, size=size, sees=sees)
        )

    async def accounts(self, tenant_id: str, account_ids: Sequence[str]) -> list[AccountNow]:
        """Return accounts with their counters now, in the order asked for, all from one moment.

        Raises:
            AccountNotFound: names the first of them that does not exist.
        """
        wanted = list(dict.fromkeys(account_ids))
        found = await self.find_accounts(tenant_id, wanted)
        for account_id in wanted:
            if account_id not in found:
                raise AccountNotFound(account_id=account_id)
        return [found[account_id] for account_id in account_ids]

    async def find_accounts(self, tenant_id: str, account_ids: Sequence[str]) -> dict[str, AccountNow]:
        """Return those of the accounts that exist, with their counters now, all from one moment.

        Raises:
            TenantNotFound: there is no such tenant.
        """
        key = await self.key_of(tenant_id)
        now = await known(self.clock)
        return await self.run(
            lambda connection: accounts.accounts_now(connection, key, account_ids, now),
            tenant=key,
            seen=lambda found: next((each.sequence for each in found.values()), None),
        )

    async def list_accounts(
        self, tenant_id: str, wanted: AccountFilter, *, after: str, size: int
    ) -> Page[AccountNow, str]:
        """Return a page of accounts by id."""
        key = await self.key_of(tenant_id)
        now = await known(self.clock)
        return await self.page_at(
            lambda connection: accounts.list_accounts(
                connection, key, wanted, after=after, size=size, now=now
            ),
            key,
        )

    async def balance_at_time(self, tenant_id: str, account_id: str, moment: datetime) -> AccountNow:
        """Return an account as the ledger knew it at an instant.

        Raises:
            NotYetRecorded: the instant lies in the future, or a commit under way does not come to an end.
            AccountNotFound: the account was not open then.
        """
        key = await self.key_of(tenant_id)

        async def read(connection: AnyConnection) -> BalanceAt | None:
            return await balances.balance_at_time(connection, key, account_id, moment)

        found = await self._final(tenant_id, key, moment, read)
        return _known_then(found, tenant_id, account_id)

    async def balance_at_sequence(self, tenant_id: str, account_id: str, sequence: int) -> AccountNow:
        """Return an account as a record left it.

        Raises:
            NotYetRecorded: there is no such record yet.
            AccountNotFound: the account was not open then.
        """
        key = await self.key_of(tenant_id)
        found = await self.run(
            lambda connection: balances.balance_at_sequence(connection, key, account_id, sequence), tenant=key
        )
        return _known_then(found, tenant_id, account_id)

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
        """Return a page of an account's lines, behind `position` in reading order.

        Raises:
            AccountNotFound: there is no such account.
        """
        key = await self.key_of(tenant_id)
        low, high = await self.bounds(tenant_id, key, span)
        after = LinePosition(low + 1, -1)
        before = LinePosition(high, -1)
        if position is not None and newest_first:
            before = position
        elif position is not None:
            after = position
        page = await self.page_at(
            lambda connection: statements.statement_page(
                connection,
                key,
                account_id,
                after=after,
                before=before,
                newest_first=newest_first,
                include_pending=include_pending,
                size=size,
            ),
            key,
        )
        if not page.items:
            await self.accounts(tenant_id, [account_id])
        return page

    async def transaction(self, tenant_id: str, transaction_id: str) -> At[PostedRecord]:
        """Return a transaction. Raises TransactionNotFound."""
        key = await self.key_of(tenant_id)
        sequence = (await self.ids(tenant_id)).transaction_sequence(transaction_id)
        if sequence is None:
            raise TransactionNotFound(transaction_id=transaction_id)
        found, newest = await self.run_at(
            lambda connection: transactions.transaction(connection, key, sequence), key
        )
        if found is None:
            raise TransactionNotFound(transaction_id=transaction_id)
        return At(found, newest)

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
        key = await self.key_of(tenant_id)
        low, high = await self.bounds(tenant_id, key, span)
        after, before = _narrowed(low, high, position, newest_first=newest_first)
        return await self.page_at(
            lambda connection: transactions.list_transactions(
                connection, key, wanted, after=after, before=before, newest_first=newest_first, size=size
            ),
            key,
        )

    async def hold(self, tenant_id: str, hold_id: str) -> At[Hold]:
        """Return a hold as it stands now. Raises HoldNotFound."""
        key = await self.key_of(tenant_id)
        number = (await self.ids(tenant_id)).hold_sequence(hold_id)
        now = await known(self.clock)
        if number is None:
            raise HoldNotFound(hold_id=hold_id)
        found, newest = await self.run_at(lambda connection: holds.hold(connection, key, number, now), key)
        if found is None:
            raise HoldNotFound(hold_id=hold_id)
        return At(found, newest)

    async def list_holds(
        self, tenant_id: str, wanted: HoldFilter, *, position: int | None, newest_first: bool, size: int
    ) -> Page[Hold, int]:
        """Return a page of holds in the order of their placing, as they stand now."""
        key = await self.key_of(tenant_id)
        after, before = _narrowed(0, 2**63 - 1, position, newest_first=newest_first)
        now = await known(self.clock)
        return await self.page_at(
            lambda connection: holds.list_holds(
                connection,
                key,
                wanted,
                after=after,
                before=before,
                newest_first=newest_first,
                size=size,
                now=now,
            ),
            key,
        )

    async def entries(self, tenant_id: str, *, after: int, size: int) -> Page[Entry, int]:
        """Return a page of the journal."""
        key = await self.key_of(tenant_id)
        found, newest = await self.run_at(
            lambda connection: journal.entries_after(connection, key, after, limit=size + 1), key
        )
        page = found[:size]
        # A page may end before it is full because its records are large.
        more = bool(page) and page[-1].sequence < newest
        return Page(page, page[-1].sequence if more else None, newest)

    async def outcome(self, tenant_id: str, request: RequestKey) -> At[Entry]:
        """Return what was decided for an idempotency key. Raises OutcomeNotFound."""
        key = await self.key_of(tenant_id)
        found, newest = await self.run_at(lambda connection: journal.outcome(connection, key, request), key)
        if found is None:
            raise OutcomeNotFound(idempotency_key=request.idempotency_key, method=request.method.name)
        return At(found, newest)

    async def trial_balance(self, tenant_id: str) -> tuple[int, list[TrialLine]]:
        """Return the sums by currency and kind, and the newest sequence that they include."""
        key = await self.key_of(tenant_id)
        now = await known(self.clock)
        return await self.run(lambda connection: trial_balance(connection, key, now), tenant=key)

    async def bounds(self, tenant_id: str, key: TenantKey, span: Span) -> tuple[int, int]:
        """Return the sequences between which a span's records will always lie; both are exclusive.

        Raises:
            NotYetRecorded: an end lies in the future, or a commit under way does not come to an end.
        """
        low, high = 0, 2**63 - 1
        if span.start is None and span.end is None:
            return low, high
        if span.start is not None:
            low = await self._sequence_before(tenant_id, key, span.start)
        if span.end is not None:
            high = 1 + await self._sequence_before(tenant_id, key, span.end)
        return low, high

    async def sequence_at(self, tenant_id: str, moment: datetime) -> int:
        """Return the newest record at or before an instant, 0 for none; no further one can ever be at it.

        Raises:
            NotYetRecorded: the instant lies in the future, or a commit under way does not come to an end.
        """
        return await self._sequence_at(tenant_id, await self.key_of(tenant_id), moment)

    async def record_time(self, tenant_id: str, sequence: int) -> datetime:
        """Return when a record was written. Raises NotYetRecorded where there is none yet."""
        key = await self.key_of(tenant_id)
        found = await self.run(
            lambda connection: journal.record_time(connection, key, sequence),
            tenant=key,
            seen=lambda read: read.head_sequence,
        )
        if found.time is None:
            raise NotYetRecorded(head_sequence=found.head_sequence)
        return found.time

    async def _sequence_before(self, tenant_id: str, key: TenantKey, moment: datetime) -> int:
        return await self._sequence_at(tenant_id, key, moment - _INSTANT)

    async def _sequence_at(self, tenant_id: str, key: TenantKey, moment: datetime) -> int:
        async def read(connection: AnyConnection) -> SequenceAt | None:
            return await journal.sequence_at_time(connection, key, moment)

        found = await self._final(tenant_id, key, moment, read)
        assert found is not None, "tenants are never deleted"
        return found.sequence

    async def _final(
        self,
        tenant_id: str,
        key: TenantKey,
        moment: datetime,
        read: Callable[[AnyConnection], Awaitable[_AtTime | None]],
    ) -> _AtTime | None:
        """Read what belongs to an instant, once that is final; None if there is no such tenant.

        Raises:
            NotYetRecorded: the instant lies in the future, or a commit under way does not come to an end.
        """
        still_open = self.finality.still_open(tenant_id, moment)
        if still_open is not None:  # what is read now would have to be read again
            await self.finality.until_final(tenant_id, key, moment, still_open)
        found = await self.run(read, tenant=key)
        if found is not None and not found.final.includes(moment):
            await self.finality.until_final(tenant_id, key, moment, found.final)
            found = await self.run(read, tenant=key)
        return found

    async def page_at(
        self, read: Callable[[AnyConnection], Awaitable[Page[_Found, _Position]]], key: TenantKey
    ) -> Page[_Found, _Position]:
        """Read a page with the tenant's newest record at that moment."""
        page, newest = await self.run_at(read, key)
        return page._replace(sequence=newest)

    async def run_at(self, read: Callable[[AnyConnection], Awaitable[_Found]], key: TenantKey) -> At[_Found]:
        """Read what follows from a tenant's journal, and the tenant's newest record in the same snapshot."""

        async def both(connection: AnyConnection) -> At[_Found]:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                # The first statement takes the snapshot, so the second sees nothing behind this record.
                newest = await journal.newest_sequence(connection, key)
                return At(await read(connection), newest)

        return await self.run(both, tenant=key, seen=lambda read_at: read_at.sequence)

    async def run(
        self,
        read: Callable[[AnyConnection], Awaitable[_Found]],
        *,
        tenant: TenantKey | None = None,
        seen: Callable[[_Found], int | None] = lambda _: None,
    ) -> _Found:
        """Read over a connection of the pool; if it turns out to be broken, over another one.

        Args:
            tenant: the tenant whose journal everything that is read follows from; None for several tenants.
            seen: returns the newest sequence of the tenant that the result rests on, if the result tells.
        Raises:
            NotProven: a failover might take back what was read, so the result is withheld.
        """
        for _ in range(_TRIES - 1):
            with suppress(*LOST_CONNECTION):
                return await self._try(read, tenant, seen)
        return await self._try(read, tenant, seen)

    async def _try(
        self,
        read: Callable[[AnyConnection], Awaitable[_Found]],
        tenant: TenantKey | None,
        seen: Callable[[_Found], int | None],
    ) -> _Found:
        async with (
            self._shares.entered(Flow("" if tenant is None else str(tenant), "")),
            self.pool.unproven(timeout=_PATIENCE_SECONDS) as connection,
        ):
            found = await read(connection)
        await self.pool.durability.prove(tenant, seen(found))
        return found


def _narrowed(low: int, high: int, position: int | None, *, newest_first: bool) -> tuple[int, int]:
    """Return the bounds of what follows a position in reading order."""
    if position is None:
        return low, high
    return (low, min(high, position)) if newest_first else (max(low, position), high)


def _known_then(found: BalanceAt | None, tenant_id: str, account_id: str) -> AccountNow:
    if found is None:
        raise TenantNotFound(tenant_id=tenant_id)
    if found.sequence is None:
        raise NotYetRecorded(head_sequence=found.final.head_sequence)
    if found.account is None:
        raise AccountNotFound(account_id=account_id)
    return AccountNow(found.account, found.counters, found.sequence)
