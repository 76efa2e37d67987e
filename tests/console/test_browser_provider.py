"""Own signing in by an identity provider in a real browser: cookies, redirects, the policy of forms."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.console.house import House
from tests.console.oidc_provider import Provider
from tests.console.test_axe import violations
from tests.console.test_provider_sign_in import house_with_provider
from tests.console.windows import window
from tests.support.patience import HANG_SECONDS
from tests.support.postgres import Databases
from tests.support.tools import axe, require

pytestmark = pytest.mark.asyncio(loop_scope="module")
Placed = tuple[House, Provider]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def placed(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Placed]:
    """A ledger, a console with local users, and a provider."""
    with databases.fresh() as url:
        async with house_with_provider(url, tmp_path_factory.mktemp("house")) as found:
            await found[0].funded()
            yield found


async def test_person_signs_in_approves_and_signs_out(browser: Browser, placed: Placed) -> None:
    """From a page that was asked for and back to it; signing out ends at the provider too."""
    house, provider = placed
    withdrawal = await house.cashier.request(100)
    address = f"/t/casino/withdrawals/{withdrawal.withdrawal_id}"
    async with window(browser, house) as page:
        await page.goto(address)
        await page.click("main a.button.primary")
        await page.click("button[value=ada]")
        await page.wait_for_url(f"**{address}")
        await page.click("button.primary:has-text('Approve')")
        await page.wait_for_selector("text=There is nothing to decide any more.")
        assert len(provider.sessions) == 1
        await page.click("header button:has-text('Sign out')")
        await page.wait_for_url("**/sign-in")
        assert provider.sessions == {}
        # The provider asks again, so that the next person at this machine is not the last one.
        await page.click("main a.button.primary")
        await page.wait_for_selector("button[value=rob]")
    found = await house.cashier.withdrawal(withdrawal.withdrawal_id)
    assert [each.reviewer for each in found.approvals] == ["oidc:ada"]


async def test_rights_are_those_of_the_groups(browser: Browser, placed: Placed) -> None:
    """Who only reads has no button, and who is in no group sees nothing."""
    house, _ = placed
    withdrawal = await house.cashier.request(100)
    address = f"/t/casino/withdrawals/{withdrawal.withdrawal_id}"
    for subject, sentence in (
        ("rob", "The ledger does not let you decide"),
        ("nobody", "The ledger does not let you do this."),
    ):
        async with window(browser, house) as page:
            await page.goto(address)
            await page.click("main a.button.primary")
            await page.click(f"button[value={subject}]")
            await page.wait_for_selector(f"text={sentence}")


async def test_session_that_the_provider_ends_is_over_at_the_next_click(
    browser: Browser, placed: Placed
) -> None:
    """Whatever the page still shows."""
    house, provider = placed
    async with window(browser, house) as page:
        await page.goto("/t/casino/withdrawals")
        await page.click("main a.button.primary")
        await page.click("button[value=grace]")
        await page.wait_for_url("**/t/casino/withdrawals")
        assert (await provider.tell_logout(house.address, sub="grace")).status_code == 200
        await page.goto("/t/casino/findings")
        await page.wait_for_url("**/sign-in?next=*")


async def test_session_ends_by_time_whatever_lasts_at_the_provider(
    browser: Browser, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The person is asked again, by the page that leads back to where they were."""
    folder = tmp_path_factory.mktemp("short")
    with databases.fresh() as url:
        async with (
            house_with_provider(url, folder, session_seconds=2.0) as (house, provider),
            window(browser, house) as page,
        ):
            await page.goto("/sign-in/provider")
            await page.click("button[value=ada]")
            await page.wait_for_url(f"{house.address}/**")
            end = time.monotonic() + HANG_SECONDS
            while "/sign-in?next=" not in page.url and time.monotonic() < end:
                await page.goto("/t/casino")
            assert page.url.endswith("/sign-in?next=%2Ft%2Fcasino")
            assert len(provider.sessions) == 1


async def test_pages_of_signing_in_keep_nobody_out(browser: Browser, placed: Placed) -> None:
    """Both ways in, a sign-in that has expired, and the page behind signing out."""
    house, provider = placed
    script = require(axe).read_text(encoding="utf-8")
    for scheme, width in (("light", 1_280), ("dark", 360)):
        options: dict[str, Any] = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
        async with window(browser, house, **options) as page:
            await page.goto("/sign-in")
            assert await violations(page, script) == []
            await page.goto("/sign-in/provider/callback?code=x&state=y")
            assert await violations(page, script) == []
            await page.goto("/sign-in/provider")
            await page.click("button[value=ada]")
            await page.wait_for_url("**/")
            # The provider has nothing to show, so that the page stays.
            await page.route(f"{provider.issuer}/**", lambda route: route.fulfill(status=204))
            await page.click("header button:has-text('Sign out')")
            await page.wait_for_selector("h1:has-text('Signed out')")
            assert await violations(page, script) == []
