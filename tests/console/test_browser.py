"""Own what people see and do in a real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from defter.payments.v1 import payment_pb2
from playwright.async_api import Browser, Page, async_playwright

from tests.console.house import PASSWORD, House, open_house
from tests.support.patience import HANG_SECONDS
from tests.support.postgres import Databases
from tests.support.tools import axe, chromium, require

pytestmark = pytest.mark.asyncio(loop_scope="module")
_HANG_MILLISECONDS = HANG_SECONDS * 1_000
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
_LIST = "/t/casino/withdrawals"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser_house(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    """One house for all of these tests."""
    with databases.fresh() as url:
        async with open_house(url, tmp_path_factory.mktemp("house")) as house:
            await house.funded()
            yield house


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """One browser, in which each test has windows of its own."""
    program = require(chromium)
    async with async_playwright() as playwright:
        # As root it can't have a sandbox, and it opens our own pages alone.
        found = await playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield found
        await found.close()


@asynccontextmanager
async def window(browser: Browser, house: House, name: str = "", **options: Any) -> AsyncIterator[Page]:
    """Open a window, sign somebody in, and refuse every error that its console tells."""
    context = await browser.new_context(base_url=house.address, **{"locale": "en-GB", **options})
    context.set_default_timeout(_HANG_MILLISECONDS)
    page = await context.new_page()
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    if name:
        await page.goto("/")
        await page.fill("#name", name)
        await page.fill("#password", PASSWORD)
        await page.click("main button")
        await page.wait_for_url("**/")
    yield page
    # Chromium tells each answer of 400 and more as an error; those are what some tests are about.
    assert [each for each in errors if "the server responded with a status of" not in each] == []
    await context.close()


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
                body: new URLSearchParams({csrf, key, note: ""})}).then((answer) => answer.type)""",
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


async def test_pages_keep_nobody_out(browser: Browser, browser_house: House) -> None:
    """No rule of WCAG 2.2 AA is broken that axe can see: both languages, both colours, a phone and a desk."""
    house = browser_house
    withdrawal = await house.cashier.request(200, destination="<script>alert(1)</script>\u202eevil")
    finding = await house.desk.raised()
    script = require(axe).read_text(encoding="utf-8")
    paths = [
        "/",
        "/t/casino",
        _LIST,
        f"{_LIST}?player=nobody&from=x",
        f"{_LIST}/{withdrawal.withdrawal_id}",
        "/t/casino/findings",
        f"/t/casino/findings/{finding.finding_id}",
        "/t/casino/players/ann",
        f"/t/casino/records/{withdrawal.hold_id}",
        "/t/casino/search",
        "/t/casino/nothing",
    ]
    for language, scheme, width in (("en-GB", "light", 1280), ("tr-TR", "dark", 360)):
        options: dict[str, Any] = {
            "locale": language,
            "color_scheme": scheme,
            "viewport": {"width": width, "height": 800},
            "reduced_motion": "reduce",
        }
        async with window(browser, house, **options) as page:
            await page.goto("/sign-in")
            assert await violations(page, script) == []
        async with window(browser, house, "ada", **options) as page:
            for path in paths:
                await page.goto(path)
                assert await violations(page, script) == [], (path, language, scheme)
                wide = await page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
                assert wide <= 0, (path, width)
            # The other scheme by the switch; colours are all that it changes.
            await page.click(f"footer button[value={'dark' if scheme == 'light' else 'light'}]")
            for path in (paths[4], paths[6]):
                await page.goto(path)
                found = await violations(page, script, ["color-contrast"])
                assert found == [], (path, language, "switched")


async def violations(page: Page, script: str, rules: list[str] | None = None) -> list[str]:
    """Return what axe finds on a page."""
    # Not as an element of the page: its policy lets no script in that is not ours.
    await page.evaluate(f"() => {{ {script} }}")
    only = {"type": "rule", "values": rules} if rules else {"type": "tag", "values": _RULES}
    found = await page.evaluate(
        "(only) => axe.run(document, {runOnly: only, resultTypes: ['violations']})", only
    )
    return [
        f"{each['id']}: {node['html']} {node['failureSummary']}"
        for each in found["violations"]
        for node in each["nodes"]
    ]
