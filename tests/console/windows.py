"""Own windows of a real browser, in which no error of a page goes by unseen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, Page

from tests.console.house import PASSWORD, House
from tests.support.patience import HANG_SECONDS

_HANG_MILLISECONDS = HANG_SECONDS * 1_000


@asynccontextmanager
async def window(
    browser: Browser, house: House, name: str = "", *, goes_on: bool = False, **options: Any
) -> AsyncIterator[Page]:
    """Open a window, sign somebody in, and refuse every error that its console tells.

    Args:
        goes_on: whether they have signed in before, if they have: a name has ten tries in five minutes.
    """
    state = house.kept.get(name) if goes_on else None
    context = await browser.new_context(
        base_url=house.address, storage_state=state, **{"locale": "en-GB", **options}
    )
    context.set_default_timeout(_HANG_MILLISECONDS)
    page = await context.new_page()
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    if name and state is None:
        await page.goto("/")
        await page.fill("#name", name)
        await page.fill("#password", PASSWORD)
        await page.click("main button")
        await page.wait_for_url("**/")
        if goes_on:
            house.kept[name] = await context.storage_state()
    yield page
    # Chromium tells each answer of 400 and more as an error; those are what some tests are about.
    assert [each for each in errors if "the server responded with a status of" not in each] == []
    await context.close()
