"""Own the pages on which one begins."""

from __future__ import annotations

from tests.console.house import House

PAGES = ("/", "/t/{tenant}", "/t/{tenant}/search")
HOSTILE = (
    "/",
    "/t/{}",
    "/t/{}/search?q={}%2F",
    "/t/{}/nothing",
    "/sign-in?next={}",
    "/sign-in/provider?next={}",
    "/sign-in/provider/callback?state={}&code={}&iss={}&error={}&error_description={}",
)


async def make(_house: House) -> list[str]:
    """Show them, and what is nowhere."""
    return ["/", "/t/casino", "/t/casino/search", "/t/casino/nothing"]
