"""Own the pages of findings with something on them."""

from __future__ import annotations

from tests.console.house import House

PAGES = ("/t/{tenant}/findings", "/t/{tenant}/findings/{finding}")
HOSTILE = ("/t/{}/findings?assignee={}&payment={}&state={}", "/t/{}/findings/{}")


async def make(house: House) -> list[str]:
    """Show an open one."""
    finding = await house.desk.raised()
    return ["/t/casino/findings", f"/t/casino/findings/{finding.finding_id}"]
