"""Owns the fake's reads of payments, events and wallets."""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from defter_testing.pages import page_of
from defter_testing.reads import MemoryReads, account_now
from defter_testing.tenants import MemoryTenant
from ledger_server.domain.errors import (
    DepositNotFound,
    ProviderEventNotFound,
    WalletNotFound,
    WithdrawalNotFound,
)
from ledger_server.domain.payments.accounts import bonus_account, player_account
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.withdrawal import Withdrawal
from ledger_server.engine.reads.ledger import At, Span
from ledger_server.engine.reads.payments import PaymentReads
from ledger_server.store.payment_rows import DEPOSIT, WITHDRAWAL
from ledger_server.store.payment_store import StoredEventRow
from ledger_server.store.queries.counts import OPEN_STATES, PaymentCount
from ledger_server.store.queries.payments import EventFilter, PaymentFilter
from ledger_server.store.queries.rendering import Page
from ledger_server.store.queries.wallets import WalletAccount

_PLAYER: Final = re.compile(r"player:([^:]+):")


class MemoryPaymentReads(PaymentReads):
    """All reads of payments; what was recorded is returned as the bytes of its message."""

    def __init__(self, reads: MemoryReads) -> None:
        super().__init__(reads)
        self._memory = reads

    async def deposit(self, tenant_id: str, deposit_id: str) -> At[bytes]:
        """Return a deposit. Raises DepositNotFound."""
        tenant = self._memory.ledger.tenant(tenant_id)
        found = _payment(tenant, tenant.ids.deposit_sequence(deposit_id), DEPOSIT)
        if found is None:
            raise DepositNotFound(deposit_id=deposit_id)
        return found

    async def withdrawal(self, tenant_id: str, withdrawal_id: str) -> At[bytes]:
        """Return a withdrawal. Raises WithdrawalNotFound."""
        tenant = self._memory.ledger.tenant(tenant_id)
        found = _payment(tenant, tenant.ids.withdrawal_sequence(withdrawal_id), WITHDRAWAL)
        if found is None:
            raise WithdrawalNotFound(withdrawal_id=withdrawal_id)
        return found

    async def list_payments(
        self, tenant_id: str, wanted: PaymentFilter, begun: Span, *, after: int, size: int
    ) -> Page[bytes, int]:
        """Return a page of payments of one kind as they were begun, or the newest first."""
        tenant = self._memory.ledger.tenant(tenant_id)
        low, high = await self._memory.bounds(tenant_id, tenant.key, begun)
        if not wanted.newest_first:
            low = max(low, after)
        elif after:
            high = min(high, after)
        named = {
            number
            for (provider, ref), number in tenant.refs.items()
            if ref == wanted.provider_ref and wanted.provider in ("", provider)
        }
        found = (
            (number, written.body)
            for number, written in sorted(tenant.payments.items(), reverse=wanted.newest_first)
            if low < number < high
            and (not wanted.provider_ref or number in named)
            and written.kind == wanted.kind
            and _is_wanted(wanted, written.payment)
        )
        return _bodies(page_of(found, size, _position, newest=tenant.sequence, bytes_of=_length))

    async def count_payments(
        self, tenant_id: str, kind: int, states: Iterable[int], ended: Span | None
    ) -> At[list[PaymentCount]]:
        """Count payments of one kind; `ended`: those that have ended and were begun in this span, too."""
        tenant = self._memory.ledger.tenant(tenant_id)
        low, high = (0, 0) if ended is None else await self._memory.bounds(tenant_id, tenant.key, ended)
        groups: dict[tuple[int, str, str], list[Deposit | Withdrawal]] = {}
        for number, written in sorted(tenant.payments.items()):
            payment = written.payment
            counted = payment.state in OPEN_STATES or low < number < high
            if written.kind == kind and payment.state in states and counted:
                group = (int(payment.state), payment.currency, payment.provider)
                groups.setdefault(group, []).append(payment)
        counts = [
            PaymentCount(*group, len(of), sum(each.amount for each in of), _begun(of[0]), at_least=False)
            for group, of in sorted(groups.items())
        ]
        return At(counts, tenant.sequence)

    async def event(self, tenant_id: str, provider_event_id: str) -> At[StoredEventRow]:
        """Return an event with its payload. Raises ProviderEventNotFound."""
        tenant = self._memory.ledger.tenant(tenant_id)
        number = tenant.ids.event_sequence(provider_event_id)
        written = None if number is None else tenant.events.get(number)
        if written is None:
            raise ProviderEventNotFound(provider_event_id=provider_event_id)
        return At(StoredEventRow(written.body, written.payload), tenant.sequence)

    async def list_events(
        self, tenant_id: str, wanted: EventFilter, stored: Span, *, after: int, size: int
    ) -> Page[bytes, int]:
        """Return a page of events in the order in which they were stored, without payloads."""
        tenant = self._memory.ledger.tenant(tenant_id)
        low, high = await self._memory.bounds(tenant_id, tenant.key, stored)
        payment = tenant.payments.get(wanted.payment_number or 0)
        is_of_kind = payment is not None and payment.kind == wanted.payment_kind
        found = (
            (number, written.body)
            for number, written in sorted(tenant.events.items())
            if max(low, after) < number < high
            and wanted.provider in ("", written.stored.event.provider)
            and wanted.state in (None, written.stored.state)
            and (
                not wanted.payment_number or (is_of_kind and written.stored.payment == wanted.payment_number)
            )
        )
        return _bodies(page_of(found, size, _position, newest=tenant.sequence, bytes_of=_length))

    async def wallet(self, tenant_id: str, player_id: str) -> At[list[WalletAccount]]:
        """Return the accounts of a player's wallet. Raises WalletNotFound."""
        tenant = self._memory.ledger.tenant(tenant_id)
        found = self._wallet(tenant, player_id)
        if not found:
            raise WalletNotFound(player_id=player_id)
        return At(found, tenant.sequence)

    async def list_wallets(self, tenant_id: str, *, after: str, size: int) -> Page[list[WalletAccount], str]:
        """Return a page of wallets, each as its accounts; players without a wallet's account are left out."""
        tenant = self._memory.ledger.tenant(tenant_id)
        # One account stands for each player; what begins like a player's account and is none stands for
        # itself.
        passed = dict.fromkeys(
            _passed(each) for each in sorted(tenant.accounts) if (after or "player:") < each < "player;"
        )
        page = page_of(passed, size, str, newest=tenant.sequence)
        players = [each.removeprefix("player:")[:-1] for each in page.items if each.endswith(";")]
        wallets = (self._wallet(tenant, player) for player in players)
        return Page([found for found in wallets if found], page.next, page.sequence)

    def _wallet(self, tenant: MemoryTenant, player_id: str) -> list[WalletAccount]:
        found = []
        for start in (bonus_account, player_account):
            beginning = start(player_id, "")
            for account_id, account in sorted(tenant.accounts.items()):
                currency = account_id.removeprefix(beginning)
                if account.continues:
                    currency = currency.rpartition("@")[0]
                if account_id.startswith(beginning) and currency == account.currency:
                    now = account_now(tenant, account_id, self._memory.clock())
                    found.append(WalletAccount(player_id, start is bonus_account, now))
        return found


def _is_wanted(wanted: PaymentFilter, payment: Deposit | Withdrawal) -> bool:
    return (
        wanted.player_id in ("", payment.player_id)
        and (not wanted.states or payment.state in wanted.states)
        and wanted.provider in ("", payment.provider)
        and wanted.currency in ("", payment.currency)
        and wanted.reference in ("", payment.reference)
        and payment.amount >= wanted.min_amount
        and (not wanted.max_amount or payment.amount <= wanted.max_amount)
    )


def _begun(payment: Deposit | Withdrawal) -> datetime:
    return payment.initiate_time if isinstance(payment, Deposit) else payment.request_time


def _payment(tenant: MemoryTenant, number: int | None, kind: int) -> At[bytes] | None:
    written = None if number is None else tenant.payments.get(number)
    return None if written is None or written.kind != kind else At(written.body, tenant.sequence)


def _bodies(page: Page[tuple[int, bytes], int]) -> Page[bytes, int]:
    return Page([body for _, body in page.items], page.next, page.sequence)


def _position(found: tuple[int, bytes]) -> int:
    return found[0]


def _length(found: tuple[int, bytes]) -> int:
    return len(found[1])


def _passed(account_id: str) -> str:
    """Return the position behind all accounts of an account's player."""
    match = _PLAYER.match(account_id)
    return account_id if match is None else f"{match[0][:-1]};"
