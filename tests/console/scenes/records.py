"""Own the page on which anything with an id is read."""

from __future__ import annotations

from tests.console.house import House

PAGES = ("/t/{tenant}/records/{record}",)
HOSTILE = (
    "/t/{}/records/hold_{}",
    "/t/{}/records/run_{}",
    "/t/{}/records/tx_{}",
    "/t/{}/records/{}",
)


async def make(house: House) -> list[str]:
    """Show a hold."""
    withdrawal = await house.cashier.request(200)
    return [f"/t/casino/records/{withdrawal.hold_id}"]
