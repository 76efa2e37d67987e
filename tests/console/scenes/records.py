"""Own the pages on which anything with an id is read."""

from __future__ import annotations

from tests.console.house import House

PAGES = ("/t/{tenant}/players/{player}", "/t/{tenant}/records/{record}")
HOSTILE = (
    "/t/{}/players/{}",
    "/t/{}/records/hold_{}",
    "/t/{}/records/run_{}",
    "/t/{}/records/tx_{}",
    "/t/{}/records/{}",
)


async def make(house: House) -> list[str]:
    """Show a player with a withdrawal, and its hold."""
    withdrawal = await house.cashier.request(200)
    return ["/t/casino/players/ann", f"/t/casino/records/{withdrawal.hold_id}"]
