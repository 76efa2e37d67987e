"""Owns the Adyen adapter: calls, looks and listings, and the meaning of Adyen's answers.

Payments are payment links, payouts go through the Transfers API, and each carries our id as its reference.
Adyen answers most requests with "received"; the outcome comes by webhook.
"""

from datetime import datetime, timedelta
from typing import Final

import structlog
from Adyen import AdyenError

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
    NotOurs,
    ProviderCall,
    ProviderCallKind,
    ProviderRecordPage,
    Unknown,
)
from ledger_server.providers.adyen_requests import AdyenAccount, AdyenRequests
from ledger_server.providers.amounts import AmountRefused, Amounts
from ledger_server.providers.asking import (
    Walk,
    ask,
    check_page,
    found_or_absent,
    found_or_unknown,
    key_reused,
    listing_failed,
    read_page,
    refused,
    retry_after_seconds,
    send,
)
from ledger_server.providers.sending import Proof

log = structlog.get_logger()

_NAME: Final = "adyen"
_LINK_PREFIX: Final = "PL"
_REFUSALS: Final = {400, 422}
_CREDENTIALS: Final = {401, 403}
_NO_SUCH_THING: Final = 404
# 703: the key's first request cannot be looked up now. 704: it is under way, or was processed.
_IN_FLIGHT: Final = {"703", "704"}
# Adyen lists six months at most.
_LONGEST_WINDOW: Final = timedelta(days=180)
_CLOCK_MARGIN: Final = timedelta(hours=1)
_MAX_SCANNED_PAGES: Final = 100
_SCAN_PATIENCE: Final = 10


class AdyenAdapter:
    """One merchant account, with one balance account to pay out from."""

    # Payments, their refunds and disputes are in the settlement reports alone. Adyen remembers keys for seven
    # days at least; one hour is kept for slow clocks and requests.
    capabilities: Final = Capabilities(
        payments=True,
        payouts=True,
        refunds=True,
        listed=frozenset({ProviderRecordKind.PAYOUT}),
        idempotency_seconds=7 * 86_400 - 3600,
    )

    def __init__(
        self,
        *,
        account: AdyenAccount,
        currencies: CurrencyRegistry,
        timeout_seconds: float = 30.0,
        find_window_seconds: float = 30 * 86_400,
        clock: Clock = system_clock,
    ) -> None:
        self._amounts: Final = Amounts(_NAME, currencies)
        self._timeout_seconds: Final = timeout_seconds
        self._find_window: Final = timedelta(seconds=find_window_seconds)
        self._clock: Final = clock
        self._requests: Final = AdyenRequests(account, timeout_seconds)

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

        Payouts are read by Adyen's id, or listed completely by our reference since the first try (or, if that
        is not known, for the last `find_window_seconds`). Of payments only the link can be read; Adyen has no
        request to read refunds. Without an answer the same call is made again while its key is remembered;
        after that, only webhooks and the settlement report tell the outcome.
        """
        patience = self._timeout_seconds * _SCAN_PATIENCE
        return await ask(_NAME, self._find(call, provider_ref), patience)

    async def list_provider_records(
        self, from_time: datetime, to_time: datetime, cursor: str, limit: int
    ) -> ProviderRecordPage:
        """Return a page of the balance account's transfers; payments are in the settlement reports alone.

        Raises:
            ListingFailed: try again later.
        """
        return await read_page(_NAME, self._page(from_time, to_time, cursor, limit), self._timeout_seconds)

    async def close(self) -> None:
        """Let go of connections."""
        await self._requests.close()

    async def _send(self, call: ProviderCall, amount: int) -> Answer:
        try:
            match call.kind:
                case ProviderCallKind.CREATE_PAYMENT:
                    return (await self._requests.create_link(call, amount)).accepted()
                case ProviderCallKind.CREATE_PAYOUT:
                    return (await self._requests.create_transfer(call, amount)).accepted()
                case ProviderCallKind.REFUND:
                    return (await self._requests.refund(call, amount)).accepted()
        except AdyenError as error:
            return _judged(error, call)

    async def _find(self, call: ProviderCall, provider_ref: str) -> Accepted | NotFound | Unknown:
        try:
            if call.kind is ProviderCallKind.CREATE_PAYOUT:
                if provider_ref:
                    return (await self._requests.get_transfer(provider_ref)).accepted()
                return await self._scan(call)
            if call.kind is ProviderCallKind.CREATE_PAYMENT and provider_ref.startswith(_LINK_PREFIX):
                return (await self._requests.get_link(provider_ref)).accepted()
        except AdyenError as error:
            # An answer without Adyen's own error code comes from something else at that address.
            if error.status_code == _NO_SUCH_THING and error.error_code:
                return NotFound()
            return _unknown(error)
        return Unknown(reason=f"{_NAME} cannot be asked for a {call.kind.value}: its webhook tells")

    async def _scan(self, call: ProviderCall) -> Accepted | NotFound | Unknown:
        """Look through all payouts with our reference: absence is known only at the listing's end."""
        now = call.look_time or self._clock()
        since = (call.first_try_time or now - self._find_window) - _CLOCK_MARGIN
        if now - since > _LONGEST_WINDOW:
            return Unknown(reason=f"{_NAME} lists six months, and the first try is older")
        found: list[Accepted] = []
        walk = Walk(_NAME)
        cursor = ""
        for _ in range(_MAX_SCANNED_PAGES):
            page = await self._requests.list_transfers(
                since, now + _CLOCK_MARGIN, cursor=cursor, reference=call.our_id
            )
            found += [transfer.accepted() for transfer in page.data if transfer.reference == call.our_id]
            try:
                walk.page([transfer.id for transfer in page.data], page.next_cursor, cursor=cursor)
            except ListingFailed as failed:
                return found_or_unknown(found, str(failed))
            cursor = page.next_cursor
            if not cursor:
                return found_or_absent(found)
        return found_or_unknown(found, f"{_NAME}'s listing did not come to an end")

    async def _page(
        self, from_time: datetime, to_time: datetime, cursor: str, limit: int
    ) -> ProviderRecordPage:
        try:
            page = await self._requests.list_transfers(from_time, to_time, cursor=cursor, limit=limit)
        except AdyenError as error:
            raise listing_failed(_unknown(error)) from error
        check_page(_NAME, [transfer.id for transfer in page.data], page.next_cursor, cursor=cursor)
        records = tuple(
            transfer.provider_record(self._amounts)
            for transfer in page.data
            if from_time <= transfer.create_time() < to_time
        )
        return ProviderRecordPage(records=records, next_cursor=page.next_cursor)


def _judged(error: AdyenError, call: ProviderCall) -> Declined | Unknown | NotOurs:
    """Return what an error says of a call: refused for good, or unknown."""
    message = _message(error)
    transient = error.headers.get("transient-error") == "true" if error.headers else False
    if transient or str(error.error_code) in _IN_FLIGHT or error.status_code not in _REFUSALS:
        return _unknown(error)
    if "idempoten" in message.lower():
        return key_reused(_NAME, call)
    return Declined(code=str(error.error_code or error.status_code), message=message)


def _unknown(error: AdyenError) -> Unknown:
    """Return an unknown outcome with its reason, without any text that was sent."""
    said = f"{error.status_code or 'no status'}, {error.error_code or type(error).__name__}"
    retry_after = retry_after_seconds(error.headers or None)
    if error.status_code in _CREDENTIALS:
        # The configuration is wrong: an operator has to hear of it, and no player's call may fail because of
        # it.
        log.error("adyen_refused_credentials", said=said)
        return Unknown(reason=f"{_NAME} refused our credentials: {said}", retry_after_seconds=retry_after)
    return Unknown(reason=f"{_NAME} answered {said}", retry_after_seconds=retry_after)


def _message(error: AdyenError) -> str:
    """Return Adyen's words: Checkout calls them `message`, Transfers `detail`."""
    said = error.message
    return str(said.get("message") or said.get("detail") or "") if isinstance(said, dict) else ""
