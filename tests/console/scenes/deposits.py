"""Own the pages of deposits with something on them: refunds, a dispute, a fee, and a refund to confirm."""

from __future__ import annotations

from defter.payments.v1 import payment_pb2 as pb

from tests.console.house import House

PAGES = (
    "/t/{tenant}/deposits",
    "/t/{tenant}/deposits/{deposit}",
    "/t/{tenant}/deposits/{deposit}/refund",
)
HOSTILE = (
    "/t/{}/deposits",
    "/t/{}/deposits?player={}&provider={}&ref={}&from={}&page={}&state=3&least={}&reference={}&currency={}",
    "/t/{}/deposits/{}",
    "/t/{}/deposits/{}/refund",
    "/t/{}/deposits/{}/refund?amount={}",
)


async def make(house: House) -> list[str]:
    """Show one that everything has happened to."""
    cashier = house.cashier
    deposit = await cashier.captured(50_000, reference="<b>ref</b>", metadata={"order": "\u202e17"})
    await cashier.refund(deposit.deposit_id, 1_000)
    await cashier.ingest(
        cashier.event(
            pb.PROVIDER_EVENT_TYPE_DISPUTE_FUNDS_WITHDRAWN,
            deposit.deposit_id,
            700,
            object_ref="dispute-1",
            reason="says <i>nothing</i>",
        ),
        cashier.event(pb.PROVIDER_EVENT_TYPE_FEE_CHARGED, deposit.deposit_id, 30, object_ref="fee-1"),
    )
    base = "/t/casino/deposits"
    page = f"{base}/{deposit.deposit_id}"
    return [
        base,
        f"{base}?player=nobody&from=x&least=1",
        page,
        f"{page}/refund",
        f"{page}/refund?amount=wrong",
        f"{page}/refund?amount=10",
    ]
