"""Own the pages of the books with something in them."""

from __future__ import annotations

from tests.console.house import House, form_of

PAGES = (
    "/t/{tenant}/trial-balance",
    "/t/{tenant}/accounts",
    "/t/{tenant}/accounts/{account}",
    "/t/{tenant}/transactions/{transaction}",
    "/t/{tenant}/journal",
    "/t/{tenant}/journal/{sequence}",
    "/t/{tenant}/verification",
    "/t/{tenant}/verification/{check}",
)
HOSTILE = (
    "/t/{}/trial-balance",
    "/t/{}/trial-balance?counted={}",
    "/t/{}/accounts?state={}&page={}",
    "/t/{}/accounts?prefix=player:&state={}",
    "/t/{}/accounts/{}?from={}&to={}&at={}&lines={}&order={}",
    "/t/{}/transactions/{}",
    "/t/{}/journal?kind={}&before={}&time={}&until={}",
    "/t/{}/journal/1",
    "/t/{}/verification",
    "/t/{}/verification/{}",
)


async def make(house: House) -> list[str]:
    """Show a reversed transaction and its mirror, a frozen account, and what has been written."""
    transaction = await house.ledger.post("house", "player:ann:real:EUR", 500)
    base = "/t/casino"
    # Whoever looks at the scene is the same person.
    async with await house.signed_in() as ada:
        form = form_of((await ada.get(f"{base}/verification")).text, "/verification")
        check = (await ada.post(f"{base}/verification", form)).headers["location"]
    return [
        f"{base}/trial-balance?counted=yes",
        f"{base}/accounts",
        f"{base}/accounts?prefix=player:",
        f"{base}/accounts?prefix=nothing",
        f"{base}/accounts/player:ann:real:EUR?at=x&from=x",
        f"{base}/transactions/{transaction.transaction_id}",
        f"{base}/journal",
        f"{base}/journal?kind=hold_expired",
        f"{base}/journal/{transaction.sequence}",
        check,
    ]
