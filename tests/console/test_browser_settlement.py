"""Own settlement and runs in a real browser: a file from sending to its confirmation, a run to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, FilePayload

from ledger_server.providers.adapter import ProviderRecordPage
from tests.console.house import PASSWORD, House, open_house
from tests.console.scenes.runs import Listing, captured_before
from tests.console.windows import window
from tests.support.fake_provider import PROVIDER
from tests.support.postgres import Databases
from tests.support.settlement import CONFIRMED, Settler, charge, paid, stripe_file

pytestmark = pytest.mark.asyncio(loop_scope="module")
BASE = "/t/casino/settlement"
# Long enough to sign in on a slow machine, and short enough to wait for.
SESSION_SECONDS = 20.0


class WaitingProvider(Listing):
    """Lists nothing, and nothing before it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_list = asyncio.Event()

    async def list_provider_records(self, *_: object) -> ProviderRecordPage:
        """Wait, then list."""
        await self.may_list.wait()
        return await super().list_provider_records()


@pytest.fixture(scope="module")
def provider() -> WaitingProvider:
    """The provider of the house."""
    return WaitingProvider()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser_house(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory, provider: WaitingProvider
) -> AsyncIterator[House]:
    """A house whose provider lists when it is told to."""
    with databases.fresh() as url:
        folder = tmp_path_factory.mktemp("house")
        async with open_house(url, folder, providers={PROVIDER: provider}) as house:
            yield house


async def test_report_is_sent_previewed_imported_and_its_batch_confirmed(
    browser: Browser, browser_house: House
) -> None:
    """By a double click too; nothing is there before, and one import is there behind it."""
    settler = Settler(browser_house.ledger)
    data = stripe_file([charge(123_456, 56), charge(1_000), paid(124_400)])
    async with window(browser, browser_house, "ada") as page:
        await page.goto(f"{BASE}/import")
        await page.fill("#provider", PROVIDER)
        await page.select_option("#format", "1")
        file = FilePayload(name="rapor\u202e.csv", mimeType="text/csv", buffer=data)
        await page.set_input_files("#file", files=file)
        await page.click("button:has-text('Look at it')")
        await page.wait_for_selector("h1:has-text('Report, not imported yet')")
        assert await page.locator("text=rapor⟨U+202E⟩.csv").count() == 1
        assert await page.locator("#sums-table ~ tbody td:has-text('1,244.56')").count() == 1
        assert await settler.batches() == []
        await page.dblclick("button:has-text('Import it')")
        await page.wait_for_selector("h1:has-text('Report, imported')")
        await page.wait_for_selector("text=All of the file is imported.")
        await page.click("a:has-text('po_1')")
        await page.wait_for_selector("svg[role=img]")
        await page.click("a:has-text('Confirm that the money has arrived')")
        await page.fill("#amount", "1244.01")
        await page.fill("#bank", "main")
        await page.fill("#reference", "STMT 7")
        await page.click("button:has-text('Book it')")
        # The problem has the focus, and what was typed is still there.
        await page.wait_for_selector("#problem:focus")
        assert await page.input_value("#reference") == "STMT 7"
        await page.fill("#amount", "1244.00")
        await page.click("button:has-text('Book it')")
        await page.wait_for_selector("text=if it is misspelt, mend it")
        await page.check("#new_bank")
        await page.dblclick("button:has-text('Book it')")
        await page.wait_for_selector("text=There is nothing to do any more.")
    assert [each.state for each in await settler.batches()] == [CONFIRMED]


async def test_run_is_begun_and_seen_to_its_end_live(
    browser: Browser, browser_house: House, provider: WaitingProvider
) -> None:
    """The page shows what it is doing, and its end without a reload."""
    await captured_before(browser_house, 123_456)
    async with window(browser, browser_house, "ada", locale="tr-TR") as page:
        await page.goto(f"/t/casino/runs/new?provider={PROVIDER}")
        await page.click("button:has-text('Var olanlara bak')")
        await page.wait_for_selector("text=Yok: ilk kez karşılaştırılıyor.")
        now = await page.evaluate("new Date().toISOString().slice(0, 16)")
        await page.fill("#to", now)
        await page.click("button:has-text('Var olanlara bak')")
        await page.dblclick("button:has-text('Mutabakatı başlat')")
        await page.wait_for_selector(".stages [aria-current=step]")
        await page.evaluate("window.isSamePage = true")
        provider.may_list.set()
        await page.wait_for_selector(".state:has-text('tamamlandı')")
        assert await page.evaluate("window.isSamePage")
        assert await page.locator("svg[role=img] >> text=1.234,56").count() == 1
        assert await page.locator("[data-again]").count() == 0
        await page.goto("/t/casino/runs")
        assert await page.locator("tbody tr").count() == 1


async def test_session_that_ends_leads_to_signing_in_and_back(
    browser: Browser,
    databases: Databases,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """What a page fetches by itself keeps no session; whoever signs in again is where they were."""
    waiting = WaitingProvider()
    with databases.fresh() as url:
        folder = tmp_path_factory.mktemp("short")
        async with open_house(
            url, folder, providers={PROVIDER: waiting}, session_seconds=SESSION_SECONDS
        ) as house:
            async with window(browser, house, "ada") as page:
                await page.goto(f"/t/casino/runs/new?provider={PROVIDER}")
                await page.click("button:has-text('Look what there is')")
                await page.click("button:has-text('Begin the run')")
                await page.wait_for_selector(".stages [aria-current=step]")
                run = page.url
                # Nobody does anything: the page itself finds out.
                await page.wait_for_url("**/sign-in?next=*")
                await page.fill("#name", "ada")
                await page.fill("#password", PASSWORD)
                await page.click("main button")
                await page.wait_for_url(run)
                await page.wait_for_selector(".stages [aria-current=step]")
            waiting.may_list.set()
