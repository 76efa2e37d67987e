"""Own the pages of withdrawals with something on them."""

from __future__ import annotations

from tests.console.house import House

PAGES = (
    "/t/{tenant}/withdrawals",
    "/t/{tenant}/withdrawals/{withdrawal}",
    "/t/{tenant}/withdrawals/{withdrawal}/paid",
    "/t/{tenant}/withdrawal-policy",
)
HOSTILE = (
    "/t/{}/withdrawals",
    "/t/{}/withdrawals?player={}&provider={}&from={}&page={}&state={}&reference={}",
    "/t/{}/withdrawals?least={}%3C&currency=EUR",
    "/t/{}/withdrawals?least={}&currency={}%3C",
    "/t/{}/withdrawals/{}",
    "/t/{}/withdrawals/{}/paid",
    "/t/{}/withdrawal-policy",
)


async def make(house: House) -> list[str]:
    """Show small ones and a large one to review, one that somebody works on, and one that is approved."""
    small = await house.cashier.request(200, destination="<script>alert(1)</script>\u202eevil")
    large = await house.cashier.request(5_000)
    await house.cashier.claim(large.withdrawal_id)
    await house.cashier.add_note(large.withdrawal_id, "asked for a document")
    approved = await house.cashier.request(300)
    await house.cashier.approve(approved.withdrawal_id)
    await house.cashier.set_policy(second_review_from_minor={"EUR": 4_000})
    base = "/t/casino/withdrawals"
    return [
        base,
        f"{base}?player=nobody&from=x&least=1.234.5&mine=yes",
        f"{base}/{small.withdrawal_id}",
        f"{base}/{large.withdrawal_id}",
        f"{base}/{approved.withdrawal_id}",
        f"{base}/{approved.withdrawal_id}/paid",
        "/t/casino/withdrawal-policy",
    ]
