"""Own the pages of adjustments with something on them."""

from __future__ import annotations

from tests.console.house import House
from tests.support.adjusters import Adjusters

PAGES = (
    "/t/{tenant}/adjustments",
    "/t/{tenant}/adjustments/{adjustment}",
    "/t/{tenant}/players/{player}/adjust",
)
HOSTILE = ("/t/{}/adjustments?state={}&from={}", "/t/{}/adjustments/{}", "/t/{}/players/{}/adjust")


async def make(house: House) -> list[str]:
    """Show one that another person has asked for."""
    found = await Adjusters(house.ledger).request("house", "player:ann:real:EUR", 700, actor="eve")
    base = "/t/casino/adjustments"
    return [base, f"{base}/{found.adjustment_id}", f"{base}?state=2&from=x", "/t/casino/players/ann/adjust"]
