"""Owns how each request to Adyen is worded, through Adyen's own library.

That library blocks, so it runs in a few threads of its own. Its query strings are not escaped, and neither
are its paths: both are escaped here.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, Literal
from urllib.parse import quote

from Adyen import Adyen
from msgspec import Struct

from ledger_server.providers import adyen_shapes as shapes
from ledger_server.providers.adapter import ProviderCall

MAX_PAGE: Final = 100
_THREADS: Final = 8


class AdyenAccount(Struct, frozen=True, kw_only=True):
    """Where and as whom to call.

    Attributes:
        api_key: of a credential for Checkout.
        transfers_api_key: of a credential of the balance platform; the same key where it is empty.
        merchant_account: takes payments in.
        balance_account_id: pays out.
        live_endpoint_prefix: of the company account; needed for `live` without base addresses.
        payout_priority: how fast and how dear payouts are, as Adyen names it.
    """

    api_key: str
    transfers_api_key: str = ""
    merchant_account: str
    balance_account_id: str
    environment: Literal["test", "live"] = "test"
    live_endpoint_prefix: str | None = None
    checkout_base_address: str | None = None
    transfers_base_address: str | None = None
    payout_priority: str = "regular"

    def __repr__(self) -> str:
        """Name the account without its keys, since this may end up in a log."""
        return f"AdyenAccount({self.environment}, {self.merchant_account})"


class AdyenRequests:
    """Adyen's API as far as the ledger uses it; methods raise `Adyen.AdyenError`, or what its HTTP does."""

    def __init__(self, account: AdyenAccount, timeout_seconds: float) -> None:
        self._account: Final = account
        self._threads: Final = ThreadPoolExecutor(_THREADS, thread_name_prefix="adyen")
        checkout = _library(account, account.api_key, timeout_seconds).checkout
        transfers = _library(account, account.transfers_api_key or account.api_key, timeout_seconds).transfers
        self._links: Final = checkout.payment_links_api
        self._modifications: Final = checkout.modifications_api
        self._transfers: Final = transfers.transfers_api
        if account.checkout_base_address:
            self._links.baseUrl = self._modifications.baseUrl = account.checkout_base_address.rstrip("/")
        if account.transfers_base_address:
            self._transfers.baseUrl = account.transfers_base_address.rstrip("/")

    def close(self) -> None:
        """Begin nothing more; a request under way ends with its own time-out."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def create_link(self, call: ProviderCall, amount: int) -> shapes.Link:
        """Make a page on which the player pays."""
        request = {
            "amount": {"value": amount, "currency": call.currency},
            "merchantAccount": self._account.merchant_account,
            "reference": call.our_id,
            # Adyen wants three characters at least.
            "shopperReference": f"player_{call.player_id}",
        }
        return shapes.link(await self._post(self._links.payment_links, call, request))

    async def get_link(self, link_id: str) -> shapes.Link:
        """Read a payment link."""
        return shapes.link(await self._run(self._links.get_payment_link, quote(link_id, safe="")))

    async def refund(self, call: ProviderCall, amount: int) -> shapes.Refund:
        """Ask for a refund of a payment."""
        request = {
            "amount": {"value": amount, "currency": call.currency},
            "merchantAccount": self._account.merchant_account,
            "reference": call.our_id,
        }
        payment = quote(call.payment_ref, safe="")
        function = partial(self._modifications.refund_captured_payment, paymentPspReference=payment)
        return shapes.refund(await self._post(function, call, request))

    async def create_transfer(self, call: ProviderCall, amount: int) -> shapes.Transfer:
        """Pay out to a transfer instrument, a bank account that Adyen has verified."""
        request = {
            "amount": {"value": amount, "currency": call.currency},
            "balanceAccountId": self._account.balance_account_id,
            "category": "bank",
            "counterparty": {"transferInstrumentId": call.destination},
            "priority": self._account.payout_priority,
            "reference": call.our_id,
        }
        return shapes.transfer(await self._post(self._transfers.transfer_funds, call, request))

    async def get_transfer(self, transfer_id: str) -> shapes.Transfer:
        """Read a transfer."""
        return shapes.transfer(await self._run(self._transfers.get_transfer, quote(transfer_id, safe="")))

    async def list_transfers(
        self,
        from_time: datetime,
        to_time: datetime,
        *,
        cursor: str = "",
        limit: int = MAX_PAGE,
        **filters: str,
    ) -> shapes.Transfers:
        """List transfers of the balance account in a window of at most six months, ends rounded outwards."""
        query = {
            "balanceAccountId": self._account.balance_account_id,
            "createdSince": _seconds(from_time),
            "createdUntil": _seconds(to_time + timedelta(seconds=1)),
            "limit": str(max(1, min(limit, MAX_PAGE))),
            **filters,
            **({"cursor": cursor} if cursor else {}),
        }
        escaped = {name: quote(value, safe="") for name, value in query.items()}
        return shapes.transfers(await self._run(self._transfers.get_all_transfers, query_parameters=escaped))

    async def _post(
        self, function: Callable[..., object], call: ProviderCall, request: Mapping[str, object]
    ) -> object:
        return await self._run(function, request, idempotency_key=call.idempotency_key)

    async def _run(self, function: Callable[..., object], *arguments: object, **named: object) -> object:
        """Run the library in a thread; what still waits for one when the caller gives up is never sent."""
        loop = asyncio.get_running_loop()
        result = await loop.run_in_executor(self._threads, partial(function, *arguments, **named))
        return getattr(result, "message", None)


def _library(account: AdyenAccount, api_key: str, timeout_seconds: float) -> Adyen:
    return Adyen(
        xapikey=api_key,
        platform=account.environment,
        live_endpoint_prefix=account.live_endpoint_prefix,
        http_timeout=timeout_seconds,
    )


def _seconds(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
