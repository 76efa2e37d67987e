"""Own the books in a real browser: the journal's live tail, sums that come behind, and a check to its end."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser

from tests.console.house import House
from tests.console.windows import window

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_journal_is_live_and_its_check_ends_by_itself(browser: Browser, browser_house: House) -> None:
    """A new record appears without a reload; sums and a check's result come without one, too."""
    async with window(browser, browser_house, "ada") as page:
        await page.goto("/t/casino/journal")
        await page.wait_for_selector("text=Live: changes are shown by themselves.")
        posted = await browser_house.ledger.post("house", "player:ann:real:EUR", 321)
        await page.click(f"#record-{posted.sequence} th a")
        await page.wait_for_selector("text=The hash follows from the one before and these bytes")
        await page.click("text=The bytes that were hashed")
        assert await page.locator("details.raw pre").inner_text()
        await page.click("main a:has-text('tx_')")
        await page.wait_for_selector("svg.legs")
        await page.goto("/t/casino/trial-balance")
        await page.wait_for_selector("text=Debits equal credits")
        await page.goto("/t/casino")
        await page.wait_for_selector("#money svg")
        await page.goto("/t/casino/verification")
        await page.click("button:has-text('Check the journal now')")
        await page.wait_for_selector("text=Everything agrees")
        assert await page.locator("text=Stop it").count() == 0
