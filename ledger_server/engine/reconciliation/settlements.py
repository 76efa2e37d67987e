"""Owns settlement batches as callers read and confirm them."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from defter.ledger.v1 import account_pb2, journal_pb2, posting_pb2
from defter.reconciliation.v1 import settlement_pb2 as pb

from ledger_server.domain.errors import (
    AccountClosed,
    AccountFrozen,
    AccountNotFound,
    OutcomeNotFound,
    SettlementBatchNotFound,
)
from ledger_server.domain.ledger.accounts import AccountState
from ledger_server.domain.payments.accounts import check_use, clearing_account
from ledger_server.domain.state.commands import Method, NamedCaller, RequestKey
from ledger_server.engine.reads.ledger import Reads
from ledger_server.engine.records.journal import transaction_of
from ledger_server.engine.records.settlements import (
    confirmed_batch,
    message_of,
    message_of_line,
    moved_batch,
)
from ledger_server.store import settlement_store
from ledger_server.store.queries import settlements
from ledger_server.store.queries.rendering import Page
from ledger_server.store.queries.settlements import SettlementBatchPosition
from ledger_server.store.settlement_store import SettlementBatchName, StoredSettlementBatch

_LAST: Final = (datetime.max.replace(tzinfo=UTC), "", "", "")


class Settlements:
    """The settlement batches of all tenants."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def check_tenant(self, tenant_id: str) -> None:
        """Raise TenantNotFound for a tenant that does not exist."""
        await self._reads.key_of(tenant_id)

    async def batch(self, tenant_id: str, provider: str, name: SettlementBatchName) -> StoredSettlementBatch:
        """Return a batch. Raises SettlementBatchNotFound."""
        key = await self._reads.key_of(tenant_id)
        found = await self._reads.run(
            lambda connection: settlement_store.read_batches(connection, key, provider, [name])
        )
        if not found:
            raise SettlementBatchNotFound(batch_id=name[0])
        return found[0]

    async def list_batches(
        self,
        tenant_id: str,
        *,
        provider: str,
        state: int,
        after: SettlementBatchPosition | None,
        size: int,
    ) -> Page[pb.SettlementBatch, SettlementBatchPosition]:
        """Return a page of batches, the most recently first seen ones first."""
        key = await self._reads.key_of(tenant_id)
        rows = await self._reads.run(
            lambda connection: settlements.list_batches(
                connection, key, provider=provider, state=state, before=after or _LAST, size=size + 1
            )
        )
        page = rows[:size]
        following = page[-1][0] if len(rows) > size else None
        return Page([message_of(batch) for _, batch in page], following)

    async def list_lines(
        self, tenant_id: str, provider: str, name: SettlementBatchName, *, after: str, size: int
    ) -> Page[pb.SettlementLine, tuple[str]]:
        """Return a page of a batch's lines, by their ids. Raises SettlementBatchNotFound."""
        await self.batch(tenant_id, provider, name)
        key = await self._reads.key_of(tenant_id)
        rows = await self._reads.run(
            lambda connection: settlements.list_lines(
                connection, key, provider, name, after=after, size=size + 1
            )
        )
        page = rows[:size]
        following = (page[-1].line_id,) if len(rows) > size else None
        return Page([message_of_line(line) for line in page], following)

    async def posted(self, tenant_id: str, idempotency_key: str) -> posting_pb2.Transaction | None:
        """Return the transaction that was posted under a batch's key; None if none was."""
        try:
            asked = RequestKey(Method.PostTransaction, idempotency_key, player_id="")
            entry = (await self._reads.outcome(tenant_id, asked)).found
        except OutcomeNotFound:
            return None
        return transaction_of(journal_pb2.JournalRecord.FromString(entry.record))

    async def missing_account(self, tenant_id: str, account_id: str, currency: str, *, lowered: bool) -> bool:
        """Return whether an account has to be opened before money can be moved.

        The rules are checked before the transaction is asked for: a refusal would be the final outcome of the
        batch's only idempotency key.

        Raises:
            CurrencyMismatch, AccountKindMismatch, AccountClosed, AccountFrozen: the account can't be used.
        """
        try:
            [found] = await self._reads.accounts(tenant_id, [account_id])
        except AccountNotFound:
            return True
        account = found.account
        if account.continued_by:
            return await self.missing_account(tenant_id, account.continued_by, currency, lowered=lowered)
        check_use(account, currency)
        if account.state is AccountState.CLOSED:
            raise AccountClosed(account_id=account_id)
        if account.state is AccountState.FROZEN and lowered:
            raise AccountFrozen(account_id=account_id)
        return False

    async def set_moved(
        self, tenant_id: str, provider: str, name: SettlementBatchName, moved: int, transaction_id: str
    ) -> StoredSettlementBatch:
        """Write what was moved to the bank, unless it is written already, and return the batch.

        An import may have changed the batch since the money was moved; the batch is then unbalanced. The
        batch exists, since the caller has read it and batches are never deleted.
        """
        return await self._set(tenant_id, provider, name, lambda it: moved_batch(it, moved, transaction_id))

    async def set_confirmed(
        self, tenant_id: str, provider: str, name: SettlementBatchName, caller: NamedCaller | None
    ) -> StoredSettlementBatch:
        """Write by whom a batch that paid out nothing was confirmed, unless it was, and return the batch."""
        return await self._set(tenant_id, provider, name, lambda it: confirmed_batch(it, caller))

    async def _set(
        self,
        tenant_id: str,
        provider: str,
        name: SettlementBatchName,
        confirmed: Callable[[StoredSettlementBatch], StoredSettlementBatch],
    ) -> StoredSettlementBatch:
        key = await self._reads.key_of(tenant_id)
        async with self._reads.pool.transaction() as connection:
            [batch] = await settlement_store.read_batches(connection, key, provider, [name], lock=True)
            if batch.moved is None:
                batch = confirmed(batch)
                await settlement_store.put_batches(connection, key, provider, [batch])
            return batch


def moved_by(transaction: posting_pb2.Transaction, provider: str, currency: str) -> int:
    """Return what a transaction took out of clearing; negative if it put money in."""
    clearing = clearing_account(provider, currency)
    return sum(
        posting.amount_minor if posting.direction == account_pb2.DIRECTION_CREDIT else -posting.amount_minor
        for posting in transaction.postings
        if posting.account_id == clearing or posting.account_id.startswith(f"{clearing}@")
    )
