"""Own how the simulated provider speaks: MockPSP's and Stripe's requests, answers and webhooks."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl

from defter.payments.v1 import payment_pb2

from ledger_server.domain.currency import CurrencyRegistry
from ledger_server.providers.adapter import Adapter
from ledger_server.providers.mock import MockAdapter
from ledger_server.providers.stripe import StripeAdapter
from tests.simulation.border.http import Asked, Reply
from tests.simulation.border.provider import KeyInUse, KeyReused, Kind, Later, Provider, Thing, Treatment
from webhook_edge.scheme import Endpoint
from webhook_edge.standard import provider_events as standard_events
from webhook_edge.stripe_events import provider_events as stripe_events

NAMES: Final = ("mock", "stripe")
_NO_SUCH_THING: Final = 404


class Dialect(ABC):
    """One vendor's way of speaking about the same objects."""

    address: str

    def __init__(self, provider: Provider, later: Later, stamp: Callable[[float], datetime]) -> None:
        self.provider = provider
        self._later = later
        self._stamp = stamp

    @staticmethod
    @abstractmethod
    def make_adapter(currencies: CurrencyRegistry, clock: Callable[[], datetime]) -> Adapter:
        """Return the ledger's own adapter, pointed at this provider."""

    @abstractmethod
    def answer(self, asked: Asked, reply: Reply) -> None:
        """Answer a request, when its time has come."""

    @abstractmethod
    def webhook(
        self, number: int, thing: Thing, type_: str, amount: int, ref: str, at: datetime
    ) -> list[payment_pb2.ProviderEvent]:
        """Return what the edge reads from the webhook of an event."""

    @abstractmethod
    def error(self, status: int, code: str) -> bytes:
        """Return the body of an error."""

    def write(self, asked: Asked, reply: Reply, make: Callable[[], bytes]) -> None:
        """Carry out a request once for its key, as the next treatment has it."""
        key = asked.headers["idempotency-key"]
        try:
            known = self.provider.begin(key, asked.path.encode() + asked.body)
        except KeyReused:
            reply(*self.key_reused())
            return
        except KeyInUse:
            reply(HTTPStatus.CONFLICT, self.error(HTTPStatus.CONFLICT, "idempotency_key_in_use"))
            return
        if known is not None:
            reply(HTTPStatus.OK, known)
            return
        treatment = self.provider.next_treatment()

        def execute() -> None:
            self.provider.finish(key, make())

        if treatment.execute_after is None:
            self.provider.finish(key, None)
        else:
            self._later(treatment.execute_after, execute)
        self._answer_later(treatment, key, asked, reply)

    def _answer_later(self, treatment: Treatment, key: str, asked: Asked, reply: Reply) -> None:
        if treatment.answer_after is None:
            return

        def answer() -> None:
            if treatment.status:
                reply(treatment.status, self.error(treatment.status, "trouble"))
                return
            known = self.provider.begin(key, asked.path.encode() + asked.body)
            assert known is not None
            reply(HTTPStatus.OK, known)

        self._later(treatment.answer_after, answer)

    @abstractmethod
    def key_reused(self) -> tuple[int, bytes]:
        """Return the answer to a key that came with another request."""


class MockDialect(Dialect):
    """As MockPSP speaks."""

    address = "10.9.0.1"
    _KINDS: Final[Mapping[str, Kind]] = {"payments": "payment", "payouts": "payout", "refunds": "refund"}

    @staticmethod
    def make_adapter(currencies: CurrencyRegistry, clock: Callable[[], datetime]) -> Adapter:
        """Return a MockAdapter, which reads no clock."""
        del clock
        return MockAdapter(
            base_address=f"http://{MockDialect.address}",
            api_key="key",
            currencies=currencies,
            timeout_seconds=10.0,
        )

    def answer(self, asked: Asked, reply: Reply) -> None:
        """Answer."""
        parts = asked.path.strip("/").split("/")[1:]
        if asked.method == "POST":
            sent = json.loads(asked.body)
            refunded = parts[1] if len(parts) > 1 else ""
            kind: Kind = "refund" if refunded else self._KINDS[parts[0]]

            def make() -> bytes:
                payment = self.provider.get(refunded)
                return _json(
                    self._view(
                        self.provider.make(
                            kind,
                            our_id=sent["reference"],
                            amount=sent["amount_minor"],
                            currency=sent.get("currency") or (payment.currency if payment else "EUR"),
                            destination=sent.get("destination", ""),
                            payment=refunded,
                        )
                    )
                )

            self.write(asked, reply, make)
        elif parts[0] == "records":
            reply(HTTPStatus.OK, _json({"data": [], "next_cursor": None}))
        elif len(parts) == 1:
            found = self.provider.listed(asked.query["reference"], kind=self._KINDS[parts[0]])
            reply(HTTPStatus.OK, _json({"data": [self._view(thing) for thing in found]}))
        else:
            thing = self.provider.get(parts[1])
            if thing is None:
                reply(_NO_SUCH_THING, self.error(_NO_SUCH_THING, "not_found"))
            else:
                reply(HTTPStatus.OK, _json(self._view(thing)))

    def webhook(
        self, number: int, thing: Thing, type_: str, amount: int, ref: str, at: datetime
    ) -> list[payment_pb2.ProviderEvent]:
        """Return what a Standard Webhooks delivery says."""
        final = type_ == "payment.captured"
        refund = thing.kind == "refund"
        payment = self.provider.get(thing.payment) if refund else thing
        body = _json(
            {
                "type": type_.removesuffix(".partly"),
                "created_at": at.isoformat(),
                "data": {
                    "payment_id": payment.id if payment else thing.payment,
                    "reference": payment.our_id if payment else "",
                    "object_id": thing.id if refund else ref,
                    "object_reference": thing.our_id if refund else "",
                    "amount_minor": amount,
                    "currency": thing.currency,
                    "final": final,
                    "stage": "",
                    "reason": "",
                },
            }
        )
        return standard_events(body, {"webhook-id": f"evt_{number}"}, "mock")

    def error(self, status: int, code: str) -> bytes:
        """Return MockPSP's error."""
        return _json({"error": {"code": code, "message": f"status {status}"}})

    def key_reused(self) -> tuple[int, bytes]:
        """Return MockPSP's words."""
        return 422, self.error(422, "idempotency_error")

    @staticmethod
    def _view(thing: Thing) -> dict[str, Any]:
        return {
            "id": thing.id,
            "reference": thing.our_id,
            "state": thing.state,
            "amount_minor": thing.amount,
            "currency": thing.currency,
            "destination": thing.destination,
            "created_at": "2030-01-01T12:00:00Z",
        }


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
            # The search lags behind for as long as anybody looks.
            reply(HTTPStatus.OK, _json({"object": "list", "url": "", "data": [], "has_more": False}))
        elif asked.method == "POST":
            sent = dict(parse_qsl(asked.body.decode()))

            def make() -> bytes:
                return _json(
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
            reply(HTTPStatus.OK, _json({"object": "list", "url": "", "data": data, "has_more": False}))
        else:
            thing = self.provider.get(parts[1])
            if thing is None:
                reply(_NO_SUCH_THING, self.error(_NO_SUCH_THING, "resource_missing"))
            else:
                reply(HTTPStatus.OK, _json(self._view(thing)))

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
        body = _json(
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
        return _json({"error": {"type": type_, "code": code, "message": code}})

    def key_reused(self) -> tuple[int, bytes]:
        """Return Stripe's words."""
        return 400, _json({"error": {"type": "idempotency_error", "message": "other parameters"}})

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


DIALECTS: Final[Mapping[str, type[Dialect]]] = {"mock": MockDialect, "stripe": StripeDialect}


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
