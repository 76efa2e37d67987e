"""Owns the reads of payments, events and wallets, and the refusals if something is missing."""

from collections.abc import Iterable

from ledger_server.domain.errors import (
    DepositNotFound,
    ProviderEventNotFound,
    WalletNotFound,
    WithdrawalNotFound,
)
from ledger_server.domain.ids import TenantIds, TenantKey
from ledger_server.engine.reads.ledger import At, Reads, Span
from ledger_server.engine.records.payments import reference_in, reference_written
from ledger_server.store.database import AnyConnection
from ledger_server.store.database_clock import known
from ledger_server.store.payment_rows import DEPOSIT, WITHDRAWAL
from ledger_server.store.payment_store import StoredEventRow, load_payments, read_event
from ledger_server.store.queries import counts, payments, wallets
from ledger_server.store.queries.counts import PaymentCount
from ledger_server.store.queries.payments import EventFilter, PaymentFilter
from ledger_server.store.queries.rendering import Page
from ledger_server.store.queries.wallets import WalletAccount


class PaymentReads:
    """All reads of payments; what was recorded is returned as the bytes of its message."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def ids(self, tenant_id: str) -> TenantIds:
        """Return what reads and makes the ids of a tenant in this history."""
        return await self._reads.ids(tenant_id)

    async def deposit(self, tenant_id: str, deposit_id: str) -> At[bytes]:
        """Return a deposit. Raises DepositNotFound."""
        key = await self._reads.key_of(tenant_id)
        found = await self._payment(
            key, (await self._reads.ids(tenant_id)).deposit_sequence(deposit_id), DEPOSIT
        )
        if found is None:
            raise DepositNotFound(deposit_id=deposit_id)
        return found

    async def withdrawal(self, tenant_id: str, withdrawal_id: str) -> At[bytes]:
        """Return a withdrawal. Raises WithdrawalNotFound."""
        key = await self._reads.key_of(tenant_id)
        found = await self._payment(
            key, (await self._reads.ids(tenant_id)).withdrawal_sequence(withdrawal_id), WITHDRAWAL
        )
        if found is None:
            raise WithdrawalNotFound(withdrawal_id=withdrawal_id)
        return found

    async def list_payments(
        self, tenant_id: str, wanted: PaymentFilter, begun: Span, *, after: int, size: int
    ) -> Page[bytes, int]:
        """Return a page of payments of one kind, in the order in which they were begun, or the newest first.

        Args:
            after: the number behind which the page begins in that order; 0 for the first page.
        """
        key = await self._reads.key_of(tenant_id)
        low, high = await self._reads.bounds(tenant_id, key, begun)
        if not wanted.newest_first:
            low = max(low, after)
        elif after:
            high = min(high, after)
        wanted = wanted._replace(written=reference_written(wanted.kind, wanted.reference))
        page = await self._reads.page_at(
            lambda connection: payments.list_payments(
                connection, key, wanted, after=low, before=high, size=size
            ),
            key,
        )
        if not wanted.reference:
            return page
        # Rows of earlier versions have been found by what their bodies contain.
        items = [body for body in page.items if reference_in(wanted.kind, body) == wanted.reference]
        return page._replace(items=items)

    async def count_payments(
        self, tenant_id: str, kind: int, states: Iterable[int], ended: Span | None
    ) -> At[list[PaymentCount]]:
        """Count payments of one kind; `ended`: those that have ended and were begun in this span, too."""
        key = await self._reads.key_of(tenant_id)
        between = None if ended is None else await self._reads.bounds(tenant_id, key, ended)
        return await self._reads.run_at(
            lambda connection: counts.count_payments(connection, key, kind, states, between), key
        )

    async def event(self, tenant_id: str, provider_event_id: str) -> At[StoredEventRow]:
        """Return an event with its payload. Raises ProviderEventNotFound."""
        key = await self._reads.key_of(tenant_id)
        number = (await self._reads.ids(tenant_id)).event_sequence(provider_event_id)
        if number is None:
            raise ProviderEventNotFound(provider_event_id=provider_event_id)
        found, newest = await self._reads.run_at(lambda connection: read_event(connection, key, number), key)
        if found is None:
            raise ProviderEventNotFound(provider_event_id=provider_event_id)
        return At(found, newest)

    async def list_events(
        self, tenant_id: str, wanted: EventFilter, stored: Span, *, after: int, size: int
    ) -> Page[bytes, int]:
        """Return a page of events in the order in which they were stored, without payloads."""
        key = await self._reads.key_of(tenant_id)
        low, high = await self._reads.bounds(tenant_id, key, stored)
        return await self._reads.page_at(
            lambda connection: payments.list_events(
                connection, key, wanted, after=max(low, after), before=high, size=size
            ),
            key,
        )

    async def wallet(self, tenant_id: str, player_id: str) -> At[list[WalletAccount]]:
        """Return the accounts of a player's wallet. Raises WalletNotFound."""
        key = await self._reads.key_of(tenant_id)
        now = await known(self._reads.clock)
        read = await self._reads.run_at(
            lambda connection: wallets.wallet_accounts(connection, key, [player_id], now), key
        )
        if not read.found:
            raise WalletNotFound(player_id=player_id)
        return read

    async def list_wallets(self, tenant_id: str, *, after: str, size: int) -> Page[list[WalletAccount], str]:
        """Return a page of wallets, each as its accounts; players without a wallet's account are left out."""
        key = await self._reads.key_of(tenant_id)
        now = await known(self._reads.clock)

        async def read(connection: AnyConnection) -> Page[list[WalletAccount], str]:
            page = await wallets.players_after(connection, key, after, size=size)
            by_player: dict[str, list[WalletAccount]] = {player: [] for player in page.items}
            for account in await wallets.wallet_accounts(connection, key, page.items, now):
                by_player[account.player_id].append(account)
            return Page([found for found in by_player.values() if found], page.next)

        return await self._reads.page_at(read, key)

    async def _payment(self, key: TenantKey, number: int | None, kind: int) -> At[bytes] | None:
        if number is None:
            return None
        found, newest = await self._reads.run_at(
            lambda connection: load_payments(connection, key, [number]), key
        )
        stored = found.get(number)
        return At(stored.body, newest) if stored is not None and stored.kind == kind else None
