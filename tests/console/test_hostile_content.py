"""Own that whatever others have written is shown as text: on every page, in every field."""

from __future__ import annotations

import asyncio
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.routing import compile_path

from console.app import PAGES
from console.csv_lists import Text, guarded, line
from console.outside import outside, visible
from tests.console.hostile import saying_console, visiting
from tests.console.scenes import SCENES

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' autofocus onfocus=alert(1) x='",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "\u202egnp.exe\u2066",
    "&lt;b&gt;&#60;",
    "İıŞş\u0130",
    "\x00\x07\x1b[2J",
    "../../sign-out?x=y#z",
)
PATHS = tuple(path for scene in SCENES for path in scene.HOSTILE)


class Shape(HTMLParser):
    """The elements of a page with the names of their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.text = ""
        self.links: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep an element."""
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.links += [value or "" for name, value in attrs if name in {"href", "action", "src"}]

    def handle_data(self, data: str) -> None:
        """Keep text."""
        self.text += data


async def shapes(text: str, folder: Path) -> list[Shape]:
    """Return each page of a ledger that says nothing but this."""
    found = []
    # An empty part of a path, or one of dots alone, is another path.
    part = quote(text, safe="").replace(".", "%2E")
    async with visiting(saying_console(text, folder)) as browser:
        for path in PATHS:
            answer = await browser.get(path.replace("{}", part), follow_redirects=False)
            assert answer.status_code < 500, (path, answer.text)
            found.append(Shape(answer.text))
    return found


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> list[Shape]:
    """Each page of a ledger that says nothing special."""
    return asyncio.run(shapes("x", tmp_path_factory.mktemp("plain")))


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_hostile_is_shown_as_text_on_every_page(
    text: str, plain: list[Shape], tmp_path: Path
) -> None:
    """The page has the elements and attributes that it has with plain text, and no others."""
    hostile = asyncio.run(shapes(text, tmp_path))
    for path, before, after in zip(PATHS, plain, hostile, strict=True):
        if "/" in text or "/players/" in path or "/records/" in path or "search" in path:
            # Where it leads depends on its form; elements are those of our own templates.
            assert {tag for tag, _ in after.tags} <= KNOWN, path
        else:
            assert after.tags == before.tags, path
        assert all(link.startswith(("/", "#")) for link in after.links), path
        assert not any(name.startswith("on") for _, names in after.tags for name in names), path


def test_each_page_is_opened_with_hostile_content() -> None:
    """Who adds a page is told here; files and streams are no pages."""
    opened = [re.sub(r"\{\}", "x", path.partition("?")[0]) for path in PATHS]
    for page in PAGES:
        if page.get is not None and not page.path.endswith((".csv", ".txt", "/signals")):
            pattern, _, _ = compile_path(page.path)
            assert any(pattern.match(path) for path in opened), page.path


KNOWN = frozenset(
    [
        "a",
        "bdi",
        "body",
        "button",
        "caption",
        "code",
        "dd",
        "div",
        "dl",
        "dt",
        "fieldset",
        "footer",
        "form",
        "h1",
        "h2",
        "head",
        "header",
        "html",
        "input",
        "label",
        "legend",
        "li",
        "link",
        "main",
        "meta",
        "nav",
        "p",
        "script",
        "section",
        "span",
        "strong",
        "table",
        "tbody",
        "td",
        "th",
        "thead",
        "time",
        "title",
        "tr",
        "ul",
        "details",
        "summary",
        "br",
        "datalist",
        "h3",
        "option",
        "select",
        "textarea",
    ]
)


@settings(max_examples=10)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=25))
def test_any_text_is_shown_as_text_on_the_pages_of_reviewers(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    """Generated: the elements do not depend on what others write, and what they wrote can be read."""
    folder = tmp_path_factory.getbasetemp()

    async def both(said: str) -> list[Shape]:
        async with visiting(saying_console(said, folder)) as browser:
            answers = [await browser.get(path) for path in ("/t/x/withdrawals/wd_1", "/t/x/findings/fnd_1")]
        return [Shape(answer.text) for answer in answers]

    for before, after in zip(asyncio.run(both("x")), asyncio.run(both(text)), strict=True):
        assert after.tags == before.tags
        # Browsers and parsers write line ends in their own way.
        seen = "".join(visible(text).split())
        assert seen in "".join(after.text.split())


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_nothing_unseen_is_left_in_a_visible_text(text: str) -> None:
    """Not a direction, a joiner or a control: two texts that look alike are alike."""
    assert all(
        character.isprintable() or character in "\n\t" or character.isspace() for character in visible(text)
    )


def test_long_text_is_cut_and_can_be_opened() -> None:
    """Ten thousand characters push nothing off the page."""
    shown = str(outside("a" * 10_000, "more"))
    assert shown.count("a" * 9_700) == 1
    assert "<details" in shown


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+90 555", "'+90 555"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        (" =1", "' =1"),
        ("＝1", "'＝1"),
        ("'quoted", "''quoted"),
        ("plain", "plain"),
        ("a=b", "a=b"),
    ],
)
def test_text_is_no_formula_in_a_spreadsheet(text: str, written: str) -> None:
    """Text of others is guarded."""
    assert guarded(text) == written


def test_amounts_are_left_as_they_are_in_a_spreadsheet() -> None:
    """A guard that touches a negative number makes it a text."""
    assert line(["-12.50", Text("-12.50")]) == "-12.50,'-12.50\r\n"
