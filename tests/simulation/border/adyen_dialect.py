"""Own Adyen's dialect of the simulated provider: transfers that pay out, refunds, and two kinds of webhooks.

Payment links are left to the other vendors. Adyen adds two things to a history: payouts that are only
acknowledged as received at first, and refunds that can't be read afterwards; news of refunds always comes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

from defter.payments.v1 import payment_pb2

from ledger_server.domain.ledger.currency import CurrencyRegistry
from ledger_server.providers.adapter import Adapter
from ledger_server.providers.adyen import AdyenAdapter
from ledger_server.providers.adyen_requests import AdyenAccount
from tests.simulation.border.dialect import Dialect, in_json
from tests.simulation.border.http import Asked, Reply
from tests.simulation.border.provider import Kind, Thing
from webhook_edge.adyen_events import notification_events
from webhook_edge.adyen_transfers import platform_events
from webhook_edge.scheme import Endpoint

_STATES: Final[Mapping[str, str]] = {"pending": "received", "paid": "booked"}
_CODES: Final[Mapping[str, tuple[str, str]]] = {
    "payment.captured": ("CAPTURE", "true"),
    "payment.captured.partly": ("CAPTURE", "true"),
    "refund.succeeded": ("REFUND", "true"),
    "refund.failed": ("REFUND", "false"),
}
_ENDPOINT: Final = Endpoint(
    name="adyen", tenant_id="", provider="adyen", scheme="adyen", secrets=(), options={}
)
_MERCHANT: Final = "Casino"


class AdyenDialect(Dialect):
    """As Adyen speaks."""

    address = "10.9.0.3"

    @staticmethod
    def make_adapter(currencies: CurrencyRegistry, clock: Callable[[], datetime]) -> Adapter:
        """Return an AdyenAdapter."""
        base = f"http://{AdyenDialect.address}"
        account = AdyenAccount(
            api_key="key",
            merchant_account=_MERCHANT,
            balance_account_id="BA1",
            checkout_base_address=f"{base}/checkout",
            transfers_base_address=f"{base}/btl",
        )
        return AdyenAdapter(account=account, currencies=currencies, timeout_seconds=10.0, clock=clock)

    def answer(self, asked: Asked, reply: Reply) -> None:
        """Answer."""
        parts = asked.path.strip("/").split("/")[1:]
        if asked.method == "POST":
            self._write(asked, reply, "refund" if parts[0] == "payments" else "payout", parts)
        elif len(parts) == 1:
            found = self.provider.listed(asked.query.get("reference"), kind="payout")
            reply(HTTPStatus.OK, in_json({"data": [self._view(thing) for thing in found], "_links": {}}))
        else:
            thing = self.provider.get(parts[1])
            if thing is None:
                reply(HTTPStatus.NOT_FOUND, self.error(HTTPStatus.NOT_FOUND, "30_112"))
            else:
                reply(HTTPStatus.OK, in_json(self._view(thing)))

    def _write(self, asked: Asked, reply: Reply, kind: Kind, parts: list[str]) -> None:
        sent = json.loads(asked.body)

        def make() -> bytes:
            thing = self.provider.make(
                kind,
                our_id=sent["reference"],
                amount=sent["amount"]["value"],
                currency=sent["amount"]["currency"],
                destination=sent.get("counterparty", {}).get("transferInstrumentId", ""),
                payment=parts[1] if kind == "refund" else "",
            )
            if kind == "payout":
                return in_json(self._view(thing))
            return in_json(
                {
                    "pspReference": thing.id,
                    "paymentPspReference": thing.payment,
                    "reference": thing.our_id,
                    "amount": sent["amount"],
                    "status": "received",
                }
            )

        self.write(asked, reply, make)

    def webhook(
        self, number: int, thing: Thing, type_: str, amount: int, ref: str, at: datetime
    ) -> list[payment_pb2.ProviderEvent]:
        """Return what a transfer's webhook or a standard notification says."""
        if thing.kind == "payout":
            told = {**self._view(thing), "sequenceNumber": number, "updatedAt": at.isoformat()}
            body = {"type": "balancePlatform.transfer.updated", "environment": "test", "data": told}
            return platform_events(in_json(body), _ENDPOINT)
        code, success = _CODES[type_]
        payment = self.provider.get(thing.payment) if thing.kind == "refund" else thing
        assert payment is not None
        item = {
            "eventCode": code,
            "success": success,
            "pspReference": thing.id if thing.kind == "refund" else ref,
            "originalReference": payment.id,
            "merchantAccountCode": _MERCHANT,
            "merchantReference": thing.our_id,
            "amount": {"value": amount, "currency": thing.currency},
            "eventDate": at.isoformat(),
        }
        notice: dict[str, object] = {
            "live": "false",
            "notificationItems": [{"NotificationRequestItem": item}],
        }
        return notification_events(in_json(notice), _ENDPOINT)

    def error(self, status: int, code: str) -> bytes:
        """Return Adyen's error."""
        told = {"status": status, "errorCode": code, "message": code, "detail": code, "errorType": "internal"}
        return in_json(told)

    def key_reused(self) -> tuple[int, bytes]:
        """Return an error that names the key."""
        return 422, in_json({"status": 422, "errorCode": "705", "message": "Idempotency-Key was used"})

    def _view(self, thing: Thing) -> dict[str, Any]:
        created = self._stamp(thing.made_at).isoformat(timespec="seconds")
        return {
            "id": thing.id,
            "amount": {"value": thing.amount, "currency": thing.currency},
            "category": "bank",
            "counterparty": {"transferInstrumentId": thing.destination},
            "createdAt": created,
            "creationDate": created,
            "direction": "outgoing",
            "reason": "approved",
            "reference": thing.our_id,
            "status": _STATES.get(thing.state, thing.state),
            "type": "bankTransfer",
        }
