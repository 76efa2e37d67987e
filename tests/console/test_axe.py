"""Own that pages keep nobody out: no rule of WCAG 2.2 AA is broken that axe can see."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Browser, Page

from console.app import PAGES
from tests.console.house import House
from tests.console.scenes import SCENES, Scene
from tests.console.windows import window
from tests.support.tools import axe, require

pytestmark = pytest.mark.asyncio(loop_scope="module")
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
_LOOKS = [("en-GB", "light", 1280), ("tr-TR", "dark", 360)]


def _options(language: str, scheme: str, width: int) -> dict[str, Any]:
    return {
        "locale": language,
        "color_scheme": scheme,
        "viewport": {"width": width, "height": 800},
        "reduced_motion": "reduce",
    }


@pytest.mark.parametrize("look", _LOOKS, ids=lambda look: look[0])
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__.rpartition(".")[2])
async def test_pages_keep_nobody_out(
    browser: Browser, browser_house: House, scene: Scene, look: tuple[str, str, int]
) -> None:
    """Both languages, both colours, a phone and a desk; nothing is wider than the window."""
    script = require(axe).read_text(encoding="utf-8")
    paths = await scene.make(browser_house)
    _, scheme, width = look
    async with window(browser, browser_house, "ada", goes_on=True, **_options(*look)) as page:
        for path in paths:
            await page.goto(path)
            assert await violations(page, script) == [], (path, look)
            wide = await page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert wide <= 0, (path, width)
        # The other scheme by the switch; colours are all that it changes.
        await page.click(f"footer button[value={'dark' if scheme == 'light' else 'light'}]")
        for path in paths:
            await page.goto(path)
            assert await violations(page, script, ["color-contrast"]) == [], (path, look, "switched")


@pytest.mark.parametrize("look", _LOOKS, ids=lambda look: look[0])
async def test_signing_in_keeps_nobody_out(
    browser: Browser, browser_house: House, look: tuple[str, str, int]
) -> None:
    """It is what everybody meets first."""
    async with window(browser, browser_house, **_options(*look)) as page:
        await page.goto("/sign-in")
        assert await violations(page, require(axe).read_text(encoding="utf-8")) == []


async def test_each_page_is_on_show_in_one_scene() -> None:
    """Who adds a page is told here; files and streams are no pages."""
    pages = {
        page.path
        for page in PAGES
        if page.get is not None and not page.is_open and not page.path.endswith((".csv", ".txt", "/signals"))
    }
    shown = [path for scene in SCENES for path in scene.PAGES]
    assert sorted(shown) == sorted(pages)


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
