"""Owns the requests to Adyen, made through Adyen's own library.

The library blocks and sends by itself. So it only words requests and reads answers, and the sending in
between is ours: each of its functions is called twice, first for the request and then with the answer. The
library escapes neither query strings nor paths, so both are escaped here.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, Literal
from urllib.parse import quote

import httpx
from Adyen import Adyen
from msgspec import Struct

from ledger_server.providers import adyen_shapes as shapes
from ledger_server.providers.adapter import ProviderCall
from ledger_server.providers.sending import http_client

MAX_PAGE: Final = 100


class AdyenAccount(Struct, frozen=True, kw_only=True):
    """The address and the credentials of calls.

    Attributes:
        api_key: of a credential for Checkout.
        transfers_api_key: of a credential of the balance platform; `api_key` is used if it is empty.
        merchant_account: takes payments in.
        balance_account_id: pays out.
        live_endpoint_prefix: of the company account; needed for `live` without base addresses.
        payout_priority: the speed and price of payouts, as Adyen names it.
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
    """Adyen's API as far as the ledger uses it; methods raise `Adyen.AdyenError` or errors of HTTP."""

    def __init__(self, account: AdyenAccount, timeout_seconds: float) -> None:
        self._account: Final = account
        self._http: Final = http_client(timeout_seconds=timeout_seconds)
        self._wire: Final = _Wire()
        checkout = _library(account, account.api_key, self._wire).checkout
        transfers = _library(account, account.transfers_api_key or account.api_key, self._wire).transfers
        self._links: Final = checkout.payment_links_api
        self._modifications: Final = checkout.modifications_api
        self._transfers: Final = transfers.transfers_api
        if account.checkout_base_address:
            self._links.baseUrl = self._modifications.baseUrl = account.checkout_base_address.rstrip("/")
        if account.transfers_base_address:
            self._transfers.baseUrl = account.transfers_base_address.rstrip("/")

    async def close(self) -> None:
        """Let go of connections."""
        await self._http.aclose()

    async def create_link(self, call: ProviderCall, amount: int) -> shapes.Link:
        """Make a page on which the player pays."""
        request = {
            "amount": {"value": amount, "currency": call.currency},
            "merchantAccount": self._account.merchant_account,
            "reference": call.our_id,
            "shopperReference": f"{shapes.SHOPPER_PREFIX}{call.player_id}",
        }
        return shapes.link(await self._post(self._links.payment_links, call, request))

    async def get_link(self, link_id: str) -> shapes.Link:
        """Read a payment link."""
        return shapes.link(await self._run(self._links.get_payment_link, quote(link_id, safe="")))

    async def refund(self, call: ProviderCall, amount: int) -> shapes.AdyenRefund:
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
        """Let the library word a request, send it, and let the library read the answer."""
        asked = self._wire.worded(partial(function, *arguments, **named))
        answer = await self._http.request(asked.method, asked.url, json=asked.content, headers=asked.headers)
        result = self._wire.read(partial(function, *arguments, **named), answer)
        return getattr(result, "message", None)


class _Request(Exception):  # no real error: the library is left by it with the request
    """A request as the library words it."""

    def __init__(self, method: str, url: str, content: object, headers: Mapping[str, str]) -> None:
        super().__init__(method)
        self.method = method
        self.url = url
        self.content = content
        self.headers = headers


class _Wire:
    """The library's connection: it takes the request out, or passes an answer in.

    Nothing is awaited while the library runs, so one instance serves all concurrent calls.
    """

    user_agent: Final = "defter"

    def __init__(self) -> None:
        self._answer: httpx.Response | None = None

    def worded(self, function: Callable[[], object]) -> _Request:
        """Return the request that a function of the library makes."""
        try:
            function()
        except _Request as request:
            return request
        raise RuntimeError("the library has sent nothing")

    def read(self, function: Callable[[], object], answer: httpx.Response) -> object:
        """Return what a function of the library makes of an answer; raises `Adyen.AdyenError`."""
        self._answer = answer
        try:
            return function()
        finally:
            self._answer = None

    def request(
        self,
        method: str,
        url: str,
        json: object = None,
        xapikey: str = "",
        headers: Mapping[str, str] | None = None,
        **_: Any,
    ) -> tuple[str, object, int, httpx.Headers]:
        """Take a request of the library's, in the words of its own connection."""
        if self._answer is None:
            raise _Request(method, url, json or None, {**(headers or {}), "x-api-key": xapikey})
        return self._answer.text, json, self._answer.status_code, self._answer.headers


def _library(account: AdyenAccount, api_key: str, wire: _Wire) -> Adyen:
    library = Adyen(
        xapikey=api_key,
        platform=account.environment,
        live_endpoint_prefix=account.live_endpoint_prefix,
    )
    library.client.http_client = wire
    library.client.http_init = True
    return library


def _seconds(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
