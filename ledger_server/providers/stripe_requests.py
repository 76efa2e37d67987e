"""Owns the requests to Stripe, made through Stripe's library: create, retrieve, search and list."""

import asyncio
import ssl
from collections.abc import Awaitable, Mapping
from datetime import datetime
from math import ceil
from typing import Any, Final, Literal

import stripe
from stripe import HTTPClient, StripeClient
from stripe.params import (
    BalanceTransactionListParams,
    PaymentIntentListParams,
    PayoutCreateParams,
    PayoutListParams,
    RefundCreateParams,
    RefundListParams,
)

from ledger_server.providers import stripe_shapes as shapes
from ledger_server.providers.adapter import ProviderCall, ProviderCallKind
from ledger_server.providers.sending import http_client

_MAX_PAGE: Final = 100
# A payment without a PaymentIntent is identified by its charge.
_CHARGES: Final = ("ch_", "py_")


class _ProvenClient(HTTPClient):
    """The HTTP client for Stripe's library, so that each write is proven."""

    name = "defter"

    def __init__(self, timeout_seconds: float) -> None:
        super().__init__()
        trusted = ssl.create_default_context(cafile=stripe.ca_bundle_path)
        self._http: Final = http_client(timeout_seconds=timeout_seconds, verify=trusted)

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Send a request once; httpx's errors are not translated, since nothing is retried here."""
        answer = await self._http.request(method.upper(), url, headers=headers, content=post_data)
        return answer.content, answer.status_code, answer.headers

    async def close_async(self) -> None:
        """Let go of connections."""
        await self._http.aclose()

    def sleep_async(self, secs: float) -> Awaitable[None]:
        """Wait, as the library would between tries that it is told not to make."""
        return asyncio.sleep(secs)


def _named(call: ProviderCall) -> Literal["payment_intent", "charge"]:
    """Return the parameter by which a refund names its payment."""
    return "charge" if call.payment_ref.startswith(_CHARGES) else "payment_intent"


class StripeRequests:
    """Stripe's API as far as the ledger uses it; every method raises `stripe.StripeError`."""

    def __init__(
        self, *, api_key: str, base_address: str | None, stripe_account: str | None, timeout_seconds: float
    ) -> None:
        self._http: Final = _ProvenClient(timeout_seconds)
        client = StripeClient(
            api_key,
            stripe_account=stripe_account,
            base_addresses={"api": base_address} if base_address else None,
            # The callers decide what is tried again and when.
            max_network_retries=0,
            http_client=self._http,
        )
        self._api: Final = client.v1

    async def close(self) -> None:
        """Let go of connections."""
        await self._http.close_async()

    async def create(self, call: ProviderCall, amount: int) -> shapes.Remote:
        """Make what a call asks for, under its idempotency key."""
        metadata = {shapes.OUR_ID: call.our_id, shapes.PLAYER_ID: call.player_id}
        currency = call.currency.lower()
        match call.kind:
            case ProviderCallKind.CREATE_PAYMENT:
                return shapes.remote(
                    await self._api.payment_intents.create_async(
                        {
                            "amount": amount,
                            "currency": currency,
                            "automatic_payment_methods": {"enabled": True},
                            "metadata": metadata,
                        },
                        {"idempotency_key": call.idempotency_key},
                    )
                )
            case ProviderCallKind.CREATE_PAYOUT:
                payout: PayoutCreateParams = {"amount": amount, "currency": currency, "metadata": metadata}
                if call.destination:
                    payout["destination"] = call.destination
                return shapes.remote(
                    await self._api.payouts.create_async(payout, {"idempotency_key": call.idempotency_key})
                )
            case ProviderCallKind.REFUND:
                refund: RefundCreateParams = {"amount": amount, "metadata": metadata}
                refund[_named(call)] = call.payment_ref
                return shapes.remote(
                    await self._api.refunds.create_async(refund, {"idempotency_key": call.idempotency_key})
                )

    async def retrieve(self, kind: ProviderCallKind, ref: str) -> shapes.Remote:
        """Read one payment, payout or refund."""
        match kind:
            case ProviderCallKind.CREATE_PAYMENT:
                return shapes.remote(await self._api.payment_intents.retrieve_async(ref))
            case ProviderCallKind.CREATE_PAYOUT:
                return shapes.remote(await self._api.payouts.retrieve_async(ref))
            case ProviderCallKind.REFUND:
                return shapes.remote(await self._api.refunds.retrieve_async(ref))

    async def search_payments(self, our_id: str) -> list[shapes.Remote]:
        """Search payments by our id; payments younger than some minutes may be missing."""
        query = f"metadata['{shapes.OUR_ID}']:'{our_id}'"
        return shapes.page(await self._api.payment_intents.search_async({"query": query})).data

    async def list_like(self, call: ProviderCall, created_from: datetime, after: str) -> shapes.StripePage:
        """List a page of payments or payouts since an instant, or all refunds of a payment, newest first."""
        match call.kind:
            case ProviderCallKind.CREATE_PAYMENT:
                payments: PaymentIntentListParams = {"limit": _MAX_PAGE}
                payments["created"] = {"gte": int(created_from.timestamp())}
                if after:
                    payments["starting_after"] = after
                return shapes.page(await self._api.payment_intents.list_async(payments))
            case ProviderCallKind.CREATE_PAYOUT:
                payouts: PayoutListParams = {"limit": _MAX_PAGE}
                payouts["created"] = {"gte": int(created_from.timestamp())}
                if after:
                    payouts["starting_after"] = after
                return shapes.page(await self._api.payouts.list_async(payouts))
            case ProviderCallKind.REFUND:
                refunds: RefundListParams = {"limit": _MAX_PAGE}
                refunds[_named(call)] = call.payment_ref
                if after:
                    refunds["starting_after"] = after
                return shapes.page(await self._api.refunds.list_async(refunds))

    async def list_movements(
        self, from_time: datetime, to_time: datetime, after: str, limit: int
    ) -> shapes.Movements:
        """List a page of balance transactions with what each is of, newest first."""
        parameters: BalanceTransactionListParams = {
            "limit": max(1, min(limit, _MAX_PAGE)),
            # Creation times are whole seconds, so adjacent windows share no second and miss none.
            "created": {"gte": ceil(from_time.timestamp()), "lt": ceil(to_time.timestamp())},
            "expand": ["data.source"],
        }
        if after:
            parameters["starting_after"] = after
        return shapes.movements(await self._api.balance_transactions.list_async(parameters))
