"""Own what people see and do in a real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import pytest
from defter.payments.v1 import payment_pb2
from playwright.async_api import Browser

from tests.console.house import PASSWORD, House
from tests.console.windows import window

pytestmark = pytest.mark.asyncio(loop_scope="module")
_LIST = "/t/casino/withdrawals"


async def test_two_people_approve_and_the_page_of_the_first_is_live(
    browser: Browser, browser_house: House
) -> None:
    """The first clicks twice and counts once; the second ends it, which the first sees without a reload."""
    house = browser_house
    await house.cashier.set_policy(second_review_from_minor={"EUR": 40_000})
    withdrawal = await house.cashier.request(40_000)
    address = f"{_LIST}/{withdrawal.withdrawal_id}"
    async with window(browser, house, "ada") as ada, window(browser, house, "grace") as grace:
        await ada.goto(address)
        await ada.fill("#note-approve", "seen")
        await ada.dblclick("button.primary:has-text('Approve')")
        await ada.wait_for_selector("text=Your approval is recorded.")
        await ada.wait_for_selector("text=Live: changes are shown by themselves.")
        await grace.goto(address)
        await grace.click("button.primary:has-text('Approve')")
        await grace.wait_for_selector("text=There is nothing to decide any more.")
        await ada.wait_for_selector("#region .state:has-text('approved, not paid yet')")
        await ada.wait_for_selector("text=It has changed since you opened it.")
    found = await house.cashier.withdrawal(withdrawal.withdrawal_id)
    assert [(each.reviewer, each.note) for each in found.approvals] == [("ada", "seen"), ("grace", "")]


async def test_back_button_and_the_form_again_have_one_effect(browser: Browser, browser_house: House) -> None:
    """The page from before has the key from before."""
    withdrawal = await browser_house.cashier.request(100)
    async with window(browser, browser_house, "ada") as page:
        await page.goto(f"{_LIST}/{withdrawal.withdrawal_id}")
        form = await page.evaluate("document.querySelector('form.act.primary [name=key]').value")
        await page.click("button.primary:has-text('Approve')")
        await page.wait_for_selector("text=Your approval is recorded.")
        await page.go_back()
        # A page that may not be stored is fetched again: there is nothing to send twice.
        assert await page.locator("text=There is nothing to decide any more.").count() == 1
        csrf = await page.evaluate("document.querySelector('[name=csrf]').value")
        status = await page.evaluate(
            """([path, csrf, key]) => fetch(path, {method: "POST", redirect: "manual",
                body: new URLSearchParams({csrf, key, note: "", seen_state: "1", seen_approvals: "0"})})
                .then((answer) => answer.type)""",
            [f"{_LIST}/{withdrawal.withdrawal_id}/approve", csrf, form],
        )
    assert status == "opaqueredirect"
    assert len((await browser_house.cashier.withdrawal(withdrawal.withdrawal_id)).approvals) == 1


async def test_rejecting_by_keyboard_in_turkish(browser: Browser, browser_house: House) -> None:
    """From signing in to the end without a mouse, in the other language."""
    withdrawal = await browser_house.cashier.request(100)
    async with window(browser, browser_house, locale="tr-TR") as page:
        await page.goto(f"{_LIST}/{withdrawal.withdrawal_id}")
        assert await page.get_attribute("html", "lang") == "tr"
        await page.focus("#name")
        await page.keyboard.type("ada")
        await page.keyboard.press("Tab")
        await page.keyboard.type(PASSWORD)
        await page.keyboard.press("Enter")
        await page.wait_for_selector("h1:has-text('Çekim talebi')")
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.className") == "skip"
        await page.focus("#note-reject")
        await page.keyboard.type("belge eksik")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("text=Çekim talebi reddedildi; para yeniden oyuncunundur.")
    found = await browser_house.cashier.withdrawal(withdrawal.withdrawal_id)
    assert (found.state, found.reason) == (payment_pb2.WITHDRAWAL_STATE_REJECTED, "belge eksik")


async def test_list_is_live_until_it_is_paused(browser: Browser, browser_house: House) -> None:
    """A new row appears; behind the pause none does, and going on brings what was missed."""
    async with window(browser, browser_house, "ada") as page:
        await page.goto(_LIST)
        await page.wait_for_selector("text=Live: changes are shown by themselves.")
        first = await browser_house.cashier.request(100)
        await page.wait_for_selector(f"[id='{first.withdrawal_id}']")
        await page.click("button:has-text('Pause')")
        await page.wait_for_selector("text=Paused.")
        second = await browser_house.cashier.request(100)
        assert await page.locator(f"[id='{second.withdrawal_id}']").count() == 0
        await page.click("button:has-text('Go on')")
        await page.wait_for_selector(f"[id='{second.withdrawal_id}']")


async def test_session_that_has_ended_leads_to_signing_in_and_back(
    browser: Browser, browser_house: House
) -> None:
    """Whoever signs out in one window is out in the other."""
    async with window(browser, browser_house, "ada") as page:
        other = await page.context.new_page()
        await other.goto(f"{_LIST}?state=0")
        await page.click("text=Sign out")
        await page.wait_for_url("**/sign-in")
        await other.reload()
        await other.fill("#name", "ada")
        await other.fill("#password", PASSWORD)
        await other.click("main button")
        await other.wait_for_url("**/withdrawals?state=0")
