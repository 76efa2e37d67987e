"""Own Stripe's dialect of the simulated provider."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl

from defter.payments.v1 import payment_pb2

from ledger_server.domain.ledger.currency import CurrencyRegistry
from ledger_server.providers.adapter import Adapter
from ledger_server.providers.stripe import StripeAdapter
from tests.simulation.border.dialect import Dialect, in_json
from tests.simulation.border.http import Asked, Reply
from tests.simulation.border.provider import Kind, Thing
from webhook_edge.scheme import Endpoint
from webhook_edge.stripe_events import provider_events as stripe_events


class StripeDialect(Dialect):
    """As Stripe speaks."""

    address = "10.9.0.2"
    _KINDS: Final[Mapping[str, Kind]] = {
        "payment_intents": "payment",
        "payouts": "payout",
        "refunds": "refund",
    }
    _OBJECTS: Final[Mapping[Kind, str]] = {
        "payment": "payment_intent",
        "payout": "payout",
        "refund": "refund",
    }
    _STATES: Final[Mapping[str, str]] = {"captured": "succeeded", "returned": "failed"}
    _EVENTS: Final[Mapping[str, str]] = {
        "payment.captured": "charge.captured",
        "payment.captured.partly": "charge.captured",
        "payment.attempt_failed": "payment_intent.payment_failed",
        "refund.succeeded": "refund.updated",
    }

    @staticmethod
    def make_adapter(currencies: CurrencyRegistry, clock: Callable[[], datetime]) -> Adapter:
        """Return a StripeAdapter."""
        return StripeAdapter(
            api_key="sk_test_1",
            currencies=currencies,
            base_address=f"http://{StripeDialect.address}",
            timeout_seconds=10.0,
            clock=clock,
        )

    def answer(self, asked: Asked, reply: Reply) -> None:
        """Answer."""
        parts = asked.path.strip("/").split("/")[1:]
        kind = self._KINDS.get(parts[0])
        if kind is None or parts[1:] == ["search"]:
            # In the simulation the search always lags.
            reply(HTTPStatus.OK, in_json({"object": "list", "url": "", "data": [], "has_more": False}))
        elif asked.method == "POST":
            sent = dict(parse_qsl(asked.body.decode()))

            def make() -> bytes:
                return in_json(
                    self._view(
                        self.provider.make(
                            kind,
                            our_id=sent["metadata[our_id]"],
                            amount=int(sent["amount"]),
                            currency=sent.get("currency", "eur").upper(),
                            destination=sent.get("destination", ""),
                            payment=sent.get("payment_intent", ""),
                        )
                    )
                )

            self.write(asked, reply, make)
        elif len(parts) == 1:
            found = self.provider.listed(kind=kind, payment=asked.query.get("payment_intent", ""))
            data = [self._view(thing) for thing in reversed(found)]
            reply(HTTPStatus.OK, in_json({"object": "list", "url": "", "data": data, "has_more": False}))
        else:
            thing = self.provider.get(parts[1])
            if thing is None:
                reply(HTTPStatus.NOT_FOUND, self.error(HTTPStatus.NOT_FOUND, "resource_missing"))
            else:
                reply(HTTPStatus.OK, in_json(self._view(thing)))

    def webhook(
        self, number: int, thing: Thing, type_: str, amount: int, ref: str, at: datetime
    ) -> list[payment_pb2.ProviderEvent]:
        """Return what a Stripe event says."""
        told = self._view(thing)
        if ref:
            told |= {
                "id": ref,
                "object": "charge",
                "payment_intent": thing.id,
                "amount_captured": amount,
                "captured": True,
            }
        body = in_json(
            {
                "id": f"evt_{number}",
                "object": "event",
                "created": int(at.timestamp()),
                "type": self._EVENTS.get(type_, type_),
                "data": {"object": told},
            }
        )
        endpoint = Endpoint(
            name="stripe", tenant_id="", provider="stripe", scheme="stripe", secrets=(), options={}
        )
        return stripe_events(body, endpoint)

    def error(self, status: int, code: str) -> bytes:
        """Return Stripe's error."""
        type_ = "api_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
        return in_json({"error": {"type": type_, "code": code, "message": code}})

    def key_reused(self) -> tuple[int, bytes]:
        """Return Stripe's words."""
        return 400, in_json({"error": {"type": "idempotency_error", "message": "other parameters"}})

    def _view(self, thing: Thing) -> dict[str, Any]:
        return {
            "id": thing.id,
            "object": self._OBJECTS[thing.kind],
            "amount": thing.amount,
            "currency": thing.currency.lower(),
            "status": self._STATES.get(thing.state, thing.state),
            "destination": thing.destination or None,
            "payment_intent": thing.payment or None,
            "created": int(self._stamp(thing.made_at).timestamp()),
            "metadata": {"our_id": thing.our_id} if thing.our_id else {},
        }
