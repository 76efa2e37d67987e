"""Own the pages of a player with something on them."""

from __future__ import annotations

from tests.console.house import House

PAGES = (
    "/t/{tenant}/players/{player}",
    "/t/{tenant}/players/{player}/statement",
    "/t/{tenant}/players/{player}/statement/print",
)
HOSTILE = (
    "/t/{}/players/{}",
    "/t/{}/players/{}/statement",
    "/t/{}/players/{}/statement?account={}&from={}&lines={}&order={}&page={}",
    "/t/{}/players/{}/statement/print",
)


async def make(house: House) -> list[str]:
    """Show a player with a withdrawal, one frozen, and a period in which nothing happened."""
    await house.cashier.request(200)
    await house.funded(500, player="bea")
    base = "/t/casino/players"
    await house.ledger.freeze("player:bea:real:EUR", key="bea-is-frozen")
    return [
        f"{base}/ann",
        f"{base}/bea",
        f"{base}/ann/statement",
        f"{base}/ann/statement?from=x&to=2020-01-01T00:00",
        f"{base}/ann/statement/print",
    ]
