"""Owns the Stripe adapter: calls, looks and listings, and the meaning of Stripe's answers.

Payments are PaymentIntents that the player's browser confirms; payouts are `/v1/payouts`; each carries our
id as `metadata[our_id]`.
"""

from datetime import datetime, timedelta
from typing import Final

import stripe
import structlog

from ledger_server.domain.clock import Clock, system_clock
from ledger_server.domain.ledger.currency import CurrencyRegistry
from ledger_server.domain.provider_record import ProviderRecordKind
from ledger_server.providers.adapter import (
    Accepted,
    Answer,
    Capabilities,
    Declined,
    ListingFailed,
    NotFound,
    ProviderCall,
    ProviderCallKind,
    ProviderRecordPage,
    Unknown,
)
from ledger_server.providers.amounts import AmountRefused, Amounts
from ledger_server.providers.asking import (
    Walk,
    ask,
    check_page,
    found_or_absent,
    found_or_unknown,
    key_reused,
    listing_failed,
    most_telling,
    read_page,
    refused,
    retry_after_seconds,
    send,
)
from ledger_server.providers.sending import Proof
from ledger_server.providers.stripe_requests import StripeRequests

log = structlog.get_logger()

_NAME: Final = "stripe"
_KEY_IN_USE: Final = "idempotency_key_in_use"
_MISSING: Final = "resource_missing"
_NO_SUCH_THING: Final = 404
# Balance transactions are a complete list of what moved the account's money.
_LISTED: Final = frozenset(
    {
        ProviderRecordKind.PAYMENT,
        ProviderRecordKind.PAYOUT,
        ProviderRecordKind.REFUND,
        ProviderRecordKind.DISPUTE,
        ProviderRecordKind.FEE,
        ProviderRecordKind.SETTLEMENT,
    }
)
# A hundred thousand objects; a longer scan for one object would be too much load.
_MAX_SCANNED_PAGES: Final = 1_000
# How much longer than one request a whole scan may take.
_SCAN_PATIENCE: Final = 10
# Clocks differ, and Stripe's creation times are whole seconds.
_CLOCK_MARGIN: Final = timedelta(hours=1)


class StripeAdapter:
    """One account at Stripe."""

    # Stripe may forget a key at any moment after 24 hours; one hour is kept for slow clocks and requests.
    capabilities: Final = Capabilities(
        payments=True, payouts=True, refunds=True, listed=_LISTED, idempotency_seconds=23 * 3600
    )

    def __init__(
        self,
        *,
        api_key: str,
        currencies: CurrencyRegistry,
        base_address: str | None = None,
        stripe_account: str | None = None,
        timeout_seconds: float = 30.0,
        find_window_seconds: float = 30 * 86_400,
        clock: Clock = system_clock,
    ) -> None:
        self._amounts: Final = Amounts(_NAME, currencies)
        self._timeout_seconds: Final = timeout_seconds
        self._find_window: Final = timedelta(seconds=find_window_seconds)
        self._clock: Final = clock
        self._requests: Final = StripeRequests(
            api_key=api_key,
            base_address=base_address,
            stripe_account=stripe_account,
            timeout_seconds=timeout_seconds,
        )

    def to_provider(self, amount: int, currency: str, kind: ProviderCallKind) -> int:
        """Return an amount in the provider's minor units; see `Amounts.to_provider`."""
        return self._amounts.to_provider(amount, currency, kind)

    def from_provider(self, amount: int, currency: str) -> int:
        """Return an amount of the provider in the ledger's minor units; see `Amounts.from_provider`."""
        return self._amounts.from_provider(amount, currency)

    async def call(self, call: ProviderCall, proof: Proof) -> Answer:
        """Make a call, once; safe to repeat with the same call within `idempotency_seconds`."""
        try:
            amount = self.to_provider(call.amount, call.currency, call.kind)
        except AmountRefused as error:
            return refused(error)
        return await send(_NAME, self._send(call, amount), self._timeout_seconds, proof)

    async def find(self, call: ProviderCall, provider_ref: str) -> Accepted | NotFound | Unknown:
        """Find out what became of a call.

        Without Stripe's id a payment is first searched for by metadata. The search lags by minutes, so it
        proves only presence. Absence is proven by listing everything since the first try (or, if that is not
        known, of the last `find_window_seconds`) to its end; for a refund, all refunds of the payment.
        """
        patience = self._timeout_seconds * _SCAN_PATIENCE
        return await ask(_NAME, self._find(call, provider_ref), patience)

    async def list_provider_records(
        self, from_time: datetime, to_time: datetime, cursor: str, limit: int
    ) -> ProviderRecordPage:
        """Return a page of balance transactions, each with its fee as a record of its own.

        Raises:
            ListingFailed: try again later.
        """
        return await read_page(_NAME, self._page(from_time, to_time, cursor, limit), self._timeout_seconds)

    async def close(self) -> None:
        """Let go of connections."""
        await self._requests.close()

    async def _send(self, call: ProviderCall, amount: int) -> Answer:
        try:
            return (await self._requests.create(call, amount)).accepted()
        except stripe.IdempotencyError:
            return key_reused(_NAME, call)
        except (stripe.CardError, stripe.InvalidRequestError) as error:
            # An unknown address means that our address is wrong, and says nothing about the call.
            misdirected = error.http_status == _NO_SUCH_THING and error.code != _MISSING
            if misdirected or error.code == _KEY_IN_USE:
                return _unknown(error)
            return Declined(code=error.code or "invalid_request", message=error.user_message or "")
        except stripe.StripeError as error:
            return _unknown(error)

    async def _find(self, call: ProviderCall, provider_ref: str) -> Accepted | NotFound | Unknown:
        try:
            if provider_ref:
                return (await self._requests.retrieve(call.kind, provider_ref)).accepted()
            return await self._search(call) or await self._scan(call)
        except stripe.StripeError as error:
            if error.http_status == _NO_SUCH_THING and error.code == _MISSING:
                return NotFound()
            return _unknown(error)

    async def _search(self, call: ProviderCall) -> Accepted | None:
        """Return a payment that the search finds; None proves nothing."""
        if call.kind is not ProviderCallKind.CREATE_PAYMENT:
            return None
        try:
            found = await self._requests.search_payments(call.our_id)
        except stripe.StripeError as error:
            # Accounts of some countries may not search; the listing answers as well, but slower.
            log.info("stripe_search_refused", code=error.code)
            return None
        return most_telling(remote.accepted() for remote in found if remote.is_ours(call.our_id))

    async def _scan(self, call: ProviderCall) -> Accepted | NotFound | Unknown:
        """Look through a listing: absence is known only at its end."""
        now = call.look_time or self._clock()
        since = (call.first_try_time or now - self._find_window) - _CLOCK_MARGIN
        found: list[Accepted] = []
        walk = Walk(_NAME)
        after = ""
        for _ in range(_MAX_SCANNED_PAGES):
            page = await self._requests.list_like(call, since, after)
            found += [remote.accepted() for remote in page.data if remote.is_ours(call.our_id)]
            following = page.next_cursor
            try:
                walk.page([remote.id for remote in page.data], following, cursor=after)
            except ListingFailed as failed:
                return found_or_unknown(found, str(failed))
            if following is None:
                return found_or_absent(found)
            after = following
        return found_or_unknown(found, f"{_NAME}'s listing did not come to an end")

    async def _page(
        self, from_time: datetime, to_time: datetime, cursor: str, limit: int
    ) -> ProviderRecordPage:
        try:
            page = await self._requests.list_movements(from_time, to_time, cursor, limit)
        except stripe.StripeError as error:
            raise listing_failed(_unknown(error)) from error
        check_page(_NAME, [movement.id for movement in page.data], page.next_cursor, cursor=cursor)
        return ProviderRecordPage(
            records=tuple(page.provider_records(self._amounts)), next_cursor=page.next_cursor or ""
        )


def _unknown(error: stripe.StripeError) -> Unknown:
    """Return an unknown outcome with its reason, without any text that was sent."""
    said = f"{error.http_status or 'no status'}, {error.code or type(error).__name__}"
    retry_after = retry_after_seconds(error.headers)
    if isinstance(error, (stripe.AuthenticationError, stripe.PermissionError)):
        # The configuration is wrong: an operator has to hear of it, and no player's call may fail because of
        # it.
        log.error("stripe_refused_credentials", said=said)
        return Unknown(reason=f"{_NAME} refused our credentials: {said}", retry_after_seconds=retry_after)
    return Unknown(reason=f"{_NAME} answered {said}", retry_after_seconds=retry_after)
