"""Own the pages of providers' events with a parked one on them, and one that was not read."""

from __future__ import annotations

import json

from defter.payments.v1 import payment_pb2 as pb

from tests.console.house import House

PAGES = ("/t/{tenant}/events", "/t/{tenant}/events/{event}")
HOSTILE = (
    "/t/{}/events",
    "/t/{}/events?provider={}&payment={}&to={}&page={}&state=2",
    "/t/{}/events/{}",
    "/t/{}/events/{}?payload=all",
)


async def make(house: House) -> list[str]:
    """Show them, and a body that is too long to be shown at once."""
    cashier = house.cashier
    body = json.dumps({"note": "<script>alert(1)</script>\u202e", "lines": list(range(500))}).encode()
    parked, unread = await cashier.ingest(
        cashier.event(pb.PROVIDER_EVENT_TYPE_PAYMENT_CAPTURED, "", 500, payment_ref="unheard", payload=body),
        cashier.event(
            pb.PROVIDER_EVENT_TYPE_UNSPECIFIED,
            currency_code="",
            provider_type="payment.odd",
            unread_reason=pb.UNREAD_REASON_TYPE,
            moves_money=True,
            payload=b"\xff\x00not text",
        ),
    )
    base = "/t/casino/events"
    return [
        base,
        f"{base}?payment=dep_none_1",
        f"{base}/{parked.event.provider_event_id}",
        f"{base}/{unread.event.provider_event_id}",
    ]
