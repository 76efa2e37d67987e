"""Own the pages on which one begins."""

from __future__ import annotations

from tests.console.house import House

PAGES = ("/", "/t/{tenant}", "/t/{tenant}/money", "/t/{tenant}/enforcement", "/t/{tenant}/search")
HOSTILE = (
    "/",
    "/t/{}",
    "/t/{}/money",
    "/t/{}/enforcement?counted={}",
    "/t/{}/search?q={}%2F",
    "/t/{}/nothing",
    "/sign-in?next={}",
)


async def make(_house: House) -> list[str]:
    """Show them, and what is nowhere."""
    return [
        "/",
        "/t/casino",
        "/t/casino/money",
        "/t/casino/enforcement?counted=yes",
        "/t/casino/search",
        "/t/casino/nothing",
    ]
