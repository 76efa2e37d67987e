"""Own MockPSP's dialect of the simulated provider, with Standard Webhooks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

from defter.payments.v1 import payment_pb2

from ledger_server.domain.ledger.currency import CurrencyRegistry
from ledger_server.providers.adapter import Adapter
from ledger_server.providers.mock import MockAdapter
from tests.simulation.border.dialect import Dialect, in_json
from tests.simulation.border.http import Asked, Reply
from tests.simulation.border.provider import Kind, Thing
from webhook_edge.standard import provider_events as standard_events


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
                return in_json(
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
            reply(HTTPStatus.OK, in_json({"data": [], "next_cursor": None}))
        elif len(parts) == 1:
            found = self.provider.listed(asked.query["reference"], kind=self._KINDS[parts[0]])
            reply(HTTPStatus.OK, in_json({"data": [self._view(thing) for thing in found]}))
        else:
            thing = self.provider.get(parts[1])
            if thing is None:
                reply(HTTPStatus.NOT_FOUND, self.error(HTTPStatus.NOT_FOUND, "not_found"))
            else:
                reply(HTTPStatus.OK, in_json(self._view(thing)))

    def webhook(
        self, number: int, thing: Thing, type_: str, amount: int, ref: str, at: datetime
    ) -> list[payment_pb2.ProviderEvent]:
        """Return what a Standard Webhooks delivery says."""
        final = type_ == "payment.captured"
        refund = thing.kind == "refund"
        payment = self.provider.get(thing.payment) if refund else thing
        body = in_json(
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
        return in_json({"error": {"code": code, "message": f"status {status}"}})

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
