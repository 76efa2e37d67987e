"""Own the pages on which one begins."""

from __future__ import annotations

from tests.console.house import House

PAGES = (
    "/",
    "/t/{tenant}",
    "/t/{tenant}/money",
    "/t/{tenant}/enforcement",
    "/t/{tenant}/search",
    "/t/{tenant}/outcomes",
)
HOSTILE = (
    "/",
    "/t/{}",
    "/t/{}/money",
    "/t/{}/enforcement?counted={}",
    "/t/{}/search?q={}%2F",
    "/t/{}/search?q={}&player={}",
    "/t/{}/outcomes?method=RefundDeposit&key=x&player={}",
    "/t/{}/nothing",
    "/sign-in?next={}",
    "/sign-in/provider?next={}",
    "/sign-in/provider/callback?state={}&code={}&iss={}&error={}&error_description={}",
)


async def make(house: House) -> list[str]:
    """Show them, what is nowhere, and what became of a key."""
    key = house.ledger.new_key()
    deposit = await house.cashier.captured(500)
    await house.cashier.refund(deposit.deposit_id, 100, key=key)
    return [
        "/",
        "/t/casino",
        "/t/casino/money",
        "/t/casino/enforcement?counted=yes",
        "/t/casino/search",
        "/t/casino/search?q=nothing",
        f"/t/casino/outcomes?method=RefundDeposit&key={key}",
        "/t/casino/nothing",
    ]
