"""Own what a cashier sees and does in a real browser: several small withdrawals, and a statement to print."""

from __future__ import annotations

import pytest
from defter.payments.v1 import payment_pb2
from playwright.async_api import Browser

from tests.console.house import House
from tests.console.test_axe import violations
from tests.console.windows import window
from tests.support.tools import axe, require

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_several_are_chosen_on_a_live_page_and_approved_by_one_click(
    browser: Browser, browser_house: House
) -> None:
    """What is chosen stays so while rows come in; a double click approves each once; a statement prints."""
    house, script = browser_house, require(axe).read_text(encoding="utf-8")
    chosen = [await house.cashier.request(100 * number) for number in (1, 2)]
    async with window(browser, house, "ada") as page:
        await page.goto("/t/casino/withdrawals")
        await page.wait_for_selector("text=Live: changes are shown by themselves.")
        for each in chosen:
            await page.check(f"[name='w:{each.withdrawal_id}']")
        later = await house.cashier.request(300)
        await page.wait_for_selector(f"[id='{later.withdrawal_id}']")
        assert await page.locator(".choose:checked").count() == 2
        await page.click("text=Look at those that are chosen")
        await page.wait_for_selector("text=These would be approved, as they stand now")
        assert later.withdrawal_id not in await page.inner_text("main")
        assert await violations(page, script) == []
        await page.dblclick("text=Approve all that are shown")
        await page.wait_for_selector("h1:has-text('What became of them')")
        assert await page.locator("td:has-text('✓')").count() == 2
        assert await violations(page, script) == []
        await page.goto("/t/casino/players/ann/statement/print")
        await page.emulate_media(media="print")
        assert await page.locator("header.top").is_hidden()
        assert await page.locator("tr.running").is_visible()
    found = [await house.cashier.withdrawal(each.withdrawal_id) for each in (*chosen, later)]
    assert [len(each.approvals) for each in found] == [1, 1, 0]
    assert found[2].state == payment_pb2.WITHDRAWAL_STATE_REQUESTED
