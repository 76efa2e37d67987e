"""Own the payments of one tenant as a test talks to them: short calls over real gRPC."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from defter.payments.v1 import deposit_pb2, payment_pb2, provider_event_pb2, wallet_pb2, withdrawal_pb2

from tests.support.clock import START
from tests.support.fake_provider import PROVIDER
from tests.support.ledger import LARGEST_PAGE, Ledger
from tests.support.requests import timestamp
from tests.support.tenant_lock import WAIT_SECONDS

PLAYER = "ann"
WALLET = f"player:{PLAYER}:real:EUR"
CAPTURED = payment_pb2.PROVIDER_EVENT_TYPE_PAYMENT_CAPTURED
_IN_MOTION = (payment_pb2.CALL_STATE_PENDING, payment_pb2.CALL_STATE_UNDER_WAY)


class Cashier:
    """Deposits, withdrawals, events and wallets; every mutating call gets a fresh key unless one is given."""

    def __init__(self, ledger: Ledger, *, first: int = 1) -> None:
        self.ledger = ledger
        self.stubs = ledger.stubs
        # In the names of payments and events; a second cashier of a tenant begins elsewhere.
        self._event_numbers = itertools.count(first)

    # Deposits.

    def initiate_request(
        self, amount_minor: int = 500, *, key: str | None = None, **fields: Any
    ) -> deposit_pb2.InitiateDepositRequest:
        """Return the request that begins a deposit; the caller has created the payment itself."""
        number = next(self._event_numbers)
        wanted = {
            "player_id": PLAYER,
            "provider": PROVIDER,
            "currency_code": "EUR",
            "provider_ref": f"pay-{number}",
        }
        return deposit_pb2.InitiateDepositRequest(
            tenant_id=self.ledger.tenant_id,
            idempotency_key=key or self.ledger.new_key(),
            amount_minor=amount_minor,
            **{**wanted, **fields},
        )

    async def initiate(self, amount_minor: int = 500, **fields: Any) -> payment_pb2.Deposit:
        """Begin a deposit."""
        request = self.initiate_request(amount_minor, **fields)
        return (await self.stubs.deposits.InitiateDeposit(request)).deposit

    async def captured(self, amount_minor: int = 500, **fields: Any) -> payment_pb2.Deposit:
        """Begin a deposit and have it captured whole."""
        deposit = await self.initiate(amount_minor, **fields)
        await self.ingest(self.event(CAPTURED, deposit.deposit_id, amount_minor))
        return await self.deposit(deposit.deposit_id)

    async def refund(
        self, deposit_id: str, amount_minor: int, *, key: str | None = None
    ) -> payment_pb2.Deposit:
        """Ask for a refund."""
        request = deposit_pb2.RefundDepositRequest(
            tenant_id=self.ledger.tenant_id,
            idempotency_key=key or self.ledger.new_key(),
            deposit_id=deposit_id,
            amount_minor=amount_minor,
        )
        return (await self.stubs.deposits.RefundDeposit(request)).deposit

    async def deposit(self, deposit_id: str) -> payment_pb2.Deposit:
        """Return a deposit."""
        request = deposit_pb2.GetDepositRequest(tenant_id=self.ledger.tenant_id, deposit_id=deposit_id)
        return (await self.stubs.deposits.GetDeposit(request)).deposit

    async def deposits(self, **filters: Any) -> list[payment_pb2.Deposit]:
        """Return all deposits."""
        request = deposit_pb2.ListDepositsRequest(
            tenant_id=self.ledger.tenant_id, page_size=LARGEST_PAGE, **filters
        )
        found: list[payment_pb2.Deposit] = []
        while True:
            page = await self.stubs.deposits.ListDeposits(request)
            found += page.deposits
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    # Withdrawals.

    def withdrawal_request(
        self, amount_minor: int = 100, *, key: str | None = None, **fields: Any
    ) -> withdrawal_pb2.RequestWithdrawalRequest:
        """Return the request for a withdrawal."""
        wanted = {
            "player_id": PLAYER,
            "provider": PROVIDER,
            "currency_code": "EUR",
            "destination": "bank-1",
        }
        return withdrawal_pb2.RequestWithdrawalRequest(
            tenant_id=self.ledger.tenant_id,
            idempotency_key=key or self.ledger.new_key(),
            amount_minor=amount_minor,
            **{**wanted, **fields},
        )

    async def request(self, amount_minor: int = 100, **fields: Any) -> payment_pb2.Withdrawal:
        """Ask for a withdrawal."""
        request = self.withdrawal_request(amount_minor, **fields)
        return (await self.stubs.withdrawals.RequestWithdrawal(request)).withdrawal

    async def approve(
        self,
        withdrawal_id: str,
        reviewer: str = "eve",
        *,
        note: str = "",
        key: str | None = None,
        **seen: Any,
    ) -> payment_pb2.Withdrawal:
        """Let it pass; `seen` is what the reviewer expects."""
        request = withdrawal_pb2.ApproveWithdrawalRequest(
            tenant_id=self.ledger.tenant_id,
            idempotency_key=key or self.ledger.new_key(),
            withdrawal_id=withdrawal_id,
            reviewer=reviewer,
            note=note,
            **seen,
        )
        return (await self.stubs.withdrawals.ApproveWithdrawal(request)).withdrawal

    async def reject(
        self, withdrawal_id: str, *, reason: str = "", key: str | None = None, **seen: Any
    ) -> payment_pb2.Withdrawal:
        """Refuse it; `seen` is what the reviewer expects."""
        request = withdrawal_pb2.RejectWithdrawalRequest(
            tenant_id=self.ledger.tenant_id,
            idempotency_key=key or self.ledger.new_key(),
            withdrawal_id=withdrawal_id,
            reviewer="eve",
            reason=reason,
            **seen,
        )
        return (await self.stubs.withdrawals.RejectWithdrawal(request)).withdrawal

    async def claim(
        self, withdrawal_id: str, reviewer: str = "eve", *, key: str | None = None, **fields: Any
    ) -> payment_pb2.Withdrawal:
        """Say who works on it."""
        request = withdrawal_pb2.ClaimWithdrawalRequest(
            tenant_id=self.ledger.tenant_id,
            idempotency_key=key or self.ledger.new_key(),
            withdrawal_id=withdrawal_id,
            reviewer=reviewer,
            **fields,
        )
        return (await self.stubs.withdrawals.ClaimWithdrawal(request)).withdrawal

    async def add_note(
        self, withdrawal_id: str, text: str, reviewer: str = "eve", *, key: str | None = None
    ) -> payment_pb2.Withdrawal:
        """Add a note to it."""
        request = withdrawal_pb2.AddWithdrawalNoteRequest(
            tenant_id=self.ledger.tenant_id,
            idempotency_key=key or self.ledger.new_key(),
            withdrawal_id=withdrawal_id,
            reviewer=reviewer,
            text=text,
        )
        return (await self.stubs.withdrawals.AddWithdrawalNote(request)).withdrawal

    async def cancel(self, withdrawal_id: str, *, key: str | None = None) -> payment_pb2.Withdrawal:
        """Take it back."""
        request = withdrawal_pb2.CancelWithdrawalRequest(
            tenant_id=self.ledger.tenant_id,
            idempotency_key=key or self.ledger.new_key(),
            withdrawal_id=withdrawal_id,
            reason="changed my mind",
        )
        return (await self.stubs.withdrawals.CancelWithdrawal(request)).withdrawal

    async def mark_paid(
        self, withdrawal_id: str, *, provider_ref: str = "", key: str | None = None
    ) -> payment_pb2.Withdrawal:
        """Record by hand that it was paid."""
        request = withdrawal_pb2.MarkWithdrawalPaidRequest(
            tenant_id=self.ledger.tenant_id,
            idempotency_key=key or self.ledger.new_key(),
            withdrawal_id=withdrawal_id,
            provider_ref=provider_ref,
            reviewer="eve",
        )
        return (await self.stubs.withdrawals.MarkWithdrawalPaid(request)).withdrawal

    async def withdrawal(self, withdrawal_id: str) -> payment_pb2.Withdrawal:
        """Return a withdrawal."""
        request = withdrawal_pb2.GetWithdrawalRequest(
            tenant_id=self.ledger.tenant_id, withdrawal_id=withdrawal_id
        )
        return (await self.stubs.withdrawals.GetWithdrawal(request)).withdrawal

    async def withdrawals(self, **filters: Any) -> list[payment_pb2.Withdrawal]:
        """Return the first page of withdrawals."""
        request = withdrawal_pb2.ListWithdrawalsRequest(
            tenant_id=self.ledger.tenant_id, page_size=LARGEST_PAGE, **filters
        )
        return list((await self.stubs.withdrawals.ListWithdrawals(request)).withdrawals)

    async def set_policy(self, *, key: str | None = None, **fields: Any) -> payment_pb2.WithdrawalPolicy:
        """Replace the withdrawal policy."""
        request = withdrawal_pb2.SetWithdrawalPolicyRequest(
            tenant_id=self.ledger.tenant_id,
            idempotency_key=key or self.ledger.new_key(),
            policy=payment_pb2.WithdrawalPolicy(**fields),
        )
        return (await self.stubs.withdrawals.SetWithdrawalPolicy(request)).policy

    async def policy(self) -> payment_pb2.WithdrawalPolicy:
        """Return the withdrawal policy."""
        request = withdrawal_pb2.GetWithdrawalPolicyRequest(tenant_id=self.ledger.tenant_id)
        return (await self.stubs.withdrawals.GetWithdrawalPolicy(request)).policy

    async def until_called(self) -> None:
        """Wait until every owed call that can be made was made."""

        async def quiet() -> bool:
            calls = [withdrawal.call_state for withdrawal in await self.withdrawals()]
            for deposit in await self.deposits():
                calls += [deposit.call_state, *(refund.call_state for refund in deposit.refunds)]
            return not any(state in _IN_MOTION for state in calls)

        await _until(quiet)

    async def until_begun(self, withdrawal_id: str) -> None:
        """Wait until the provider was called for a withdrawal, whether it answers or not."""

        async def begun() -> bool:
            return (await self.withdrawal(withdrawal_id)).call_state == payment_pb2.CALL_STATE_UNDER_WAY

        await _until(begun)

    # Events.

    def event(
        self,
        kind: payment_pb2.ProviderEventType.ValueType,
        payment_id: str = "",
        amount_minor: int | None = None,
        **fields: Any,
    ) -> payment_pb2.ProviderEvent:
        """Return an event of the provider; without an `event_id` it gets a fresh one."""
        number = next(self._event_numbers)
        wanted: dict[str, Any] = {
            "provider": PROVIDER,
            "event_id": f"event-{number}",
            "occur_time": timestamp(START),
            "currency_code": "EUR",
            "payload": b'{"number":%d}' % number,
        }
        return payment_pb2.ProviderEvent(
            type=kind, payment_id=payment_id, provider_amount_minor=amount_minor, **{**wanted, **fields}
        )

    async def ingest(
        self, *events: payment_pb2.ProviderEvent
    ) -> Sequence[provider_event_pb2.IngestedProviderEvent]:
        """Deliver events in one call."""
        request = provider_event_pb2.IngestProviderEventsRequest(
            tenant_id=self.ledger.tenant_id, events=events
        )
        return (await self.stubs.events.IngestProviderEvents(request)).events

    async def replay(
        self, provider_event_id: str, *, key: str | None = None
    ) -> payment_pb2.RecordedProviderEvent:
        """Apply a stored event again."""
        request = provider_event_pb2.ReplayProviderEventRequest(
            tenant_id=self.ledger.tenant_id,
            idempotency_key=key or self.ledger.new_key(),
            provider_event_id=provider_event_id,
        )
        return (await self.stubs.events.ReplayProviderEvent(request)).event

    async def stored_event(self, provider_event_id: str) -> payment_pb2.RecordedProviderEvent:
        """Return an event with its payload."""
        request = provider_event_pb2.GetProviderEventRequest(
            tenant_id=self.ledger.tenant_id, provider_event_id=provider_event_id
        )
        return (await self.stubs.events.GetProviderEvent(request)).event

    async def stored_events(self, **filters: Any) -> list[payment_pb2.RecordedProviderEvent]:
        """Return all events."""
        request = provider_event_pb2.ListProviderEventsRequest(
            tenant_id=self.ledger.tenant_id, page_size=LARGEST_PAGE, **filters
        )
        found: list[payment_pb2.RecordedProviderEvent] = []
        while True:
            page = await self.stubs.events.ListProviderEvents(request)
            found += page.events
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    # Wallets.

    async def wallet(self, player_id: str = PLAYER) -> wallet_pb2.Wallet:
        """Return a wallet."""
        request = wallet_pb2.GetWalletRequest(tenant_id=self.ledger.tenant_id, player_id=player_id)
        return (await self.stubs.wallets.GetWallet(request)).wallet


async def _until(done: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not await done():
            # Every look is a round trip, in which all other work goes on.
            pass
