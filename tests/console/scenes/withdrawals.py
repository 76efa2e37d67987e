"""Own the pages of withdrawals with something on them."""

from __future__ import annotations

from tests.console.house import House

PAGES = ("/t/{tenant}/withdrawals", "/t/{tenant}/withdrawals/{withdrawal}")
HOSTILE = (
    "/t/{}/withdrawals",
    "/t/{}/withdrawals?player={}&provider={}&from={}&page={}&state=0",
    "/t/{}/withdrawals/{}",
)


async def make(house: House) -> list[str]:
    """Show one to review, with a destination that is hostile."""
    withdrawal = await house.cashier.request(200, destination="<script>alert(1)</script>\u202eevil")
    base = "/t/casino/withdrawals"
    return [base, f"{base}?player=nobody&from=x", f"{base}/{withdrawal.withdrawal_id}"]
