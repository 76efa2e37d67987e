"""Own the pages of reconciliation runs over a real ledger: one is begun once, and told as it stands."""

from __future__ import annotations

import asyncio
import csv
import io
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from defter_client import LedgerClient
from defter_client import messages as m
from tests.console.hostile import SayingLedger, saying_console, visiting
from tests.console.house import House, form_of, open_house
from tests.console.scenes.runs import Listing, captured_before, run_over
from tests.support.fake_provider import PROVIDER
from tests.support.patience import HANG_SECONDS

BASE = "/t/casino/runs"


def window(hours: int = 2) -> str:
    """Return a window until now, as the form's address has it."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    begin = now - timedelta(hours=hours)
    return f"provider={PROVIDER}&from={begin:%Y-%m-%dT%H:%M}&to={now:%Y-%m-%dT%H:%M}"


async def test_run_is_begun_once_and_shown_to_its_end(house: House) -> None:
    """The same form twice is one run; what overlaps is told before, with a link."""
    async with await house.signed_in() as ada:
        first = (await ada.get(f"{BASE}/new?{window()}")).text
        assert "it is compared for the first time" in first
        form = form_of(first, "/new")
        both = await asyncio.gather(*(ada.post(f"{BASE}/new", form) for _ in range(2)))
        assert [each.status_code for each in both] == [303, 303], both[0].text
        [page] = {each.headers["location"] for each in both}
        async with asyncio.timeout(HANG_SECONDS):
            while "data-again" in (shown := (await ada.get(page)).text):
                pass
        assert ">complete<" in shown
        assert "token:ada" in shown
        # One that has ended is not begun again by taking it up: its key is the same.
        again = await ada.post(f"{page}/again", form)
        assert again.headers["location"] == page
        assert "No second one was begun." in (await ada.get(page)).text
        second = (await ada.get(f"{BASE}/new?{window()}")).text
        assert page.rpartition("/")[2] in second
        assert form_of(second, "/new")["key"] != form["key"]
        found = await ada.get(f"/t/casino/search?q={page.rpartition('/')[2]}")
        assert found.headers["location"] == page
        listed = (await ada.get(BASE)).text
        assert listed.count("<tr id=") == 1
        rows = list(csv.reader(io.StringIO((await ada.get(f"{BASE}.csv")).text.removeprefix("\ufeff"))))
    assert rows[1][0] == page.rpartition("/")[2]
    assert rows[1][4] == "RUN_STATE_COMPLETE"


async def test_totals_of_both_sides_and_the_findings_are_shown(database_url: str, tmp_path: Path) -> None:
    """The numbers stand at the bars and in the table; each finding has its link."""
    async with AsyncExitStack() as opened:
        lists_nothing = {PROVIDER: Listing()}
        house = await opened.enter_async_context(open_house(database_url, tmp_path, providers=lists_nothing))
        await captured_before(house, 123_456)
        run = await run_over(house, "totals")
        assert run.totals
        ada = await opened.enter_async_context(await house.signed_in())
        shown = (await ada.get(f"{BASE}/{run.run_id}")).text
        chart = shown[shown.index("<svg") : shown.index("</svg>")]
        assert 'role="img"' in chart
        assert "<title" in chart
        assert "<desc" in chart
        table = shown[shown.index("</svg>") :]
        assert "1,234.56" in chart
        assert "1,234.56" in table
        assert "missing at the provider" in shown
        assert shown.count("/findings/fnd_") >= 1
        assert run.opened_count >= 1


async def test_window_that_makes_no_sense_is_told_and_nothing_begun(house: House) -> None:
    """Backwards, in the future, unreadable, or none at all."""
    later = datetime.now(UTC) + timedelta(days=2)
    async with await house.signed_in() as ada:
        for asked, told in (
            (f"provider={PROVIDER}&from=2026-01-02T00:00&to=2026-01-01T00:00", "before the beginning"),
            (f"provider={PROVIDER}&from=2026-01-02T00:00&to={later:%Y-%m-%dT%H:%M}", "in the future"),
            (f"provider={PROVIDER}&from=x&to=2026-01-01T00:00", "no date and time"),
            ("provider=&from=2026-01-02T00:00&to=2026-01-03T00:00", "Say which provider account"),
        ):
            answer = await ada.get(f"{BASE}/new?{asked}")
            assert answer.status_code == 422
            assert told in answer.text
            assert 'action="/t/casino/runs/new" class="stack' not in answer.text
        unknown = (await ada.get(f"{BASE}/new?{window()}".replace(f"={PROVIDER}&", "=nobody&"))).text
        refused = await ada.post(f"{BASE}/new", form_of(unknown, "/new"))
        assert refused.status_code == 400
        assert "no provider account of this name" in refused.text


async def test_who_may_only_read_sees_runs_and_is_refused_one(house: House) -> None:
    """The button is left out, and what is forged is refused by the ledger itself."""
    run = await run_over(house, "read")
    async with await house.signed_in("rob") as rob, await house.signed_in() as ada:
        listed = (await rob.get(BASE)).text
        assert run.run_id in listed
        assert "Begin a run" not in listed
        form = form_of((await ada.get(f"{BASE}/new?{window()}")).text, "/new")
        form["csrf"] = form_of(listed, "/sign-out")["csrf"]
        refused = await rob.post(f"{BASE}/new", form)
        assert refused.status_code == 403
        assert "does not let you" in refused.text


class Telling(SayingLedger):
    """A ledger that has one run."""

    def __init__(self, run: m.Run) -> None:
        super().__init__("x")
        self.reconciliation = self
        self._run = run

    async def get_run(self, _request: m.GetRunRequest, **_: object) -> m.GetRunResponse:
        """Return it."""
        return m.GetRunResponse(run=self._run)


@pytest.mark.parametrize(
    ("state", "told", "is_offered"),
    [
        (m.RUN_STATE_INTERRUPTED, "Its process ended before it did.", True),
        (m.RUN_STATE_PARTIAL, "Nothing was called missing at the provider", False),
        (m.RUN_STATE_RUNNING, "It goes on whether or not this page stays open.", False),
        (m.RUN_STATE_COMPLETE, "Begin another run of this provider", False),
    ],
)
async def test_run_says_how_it_stands_and_what_to_do(
    tmp_path: Path, state: m.RunState.ValueType, told: str, is_offered: bool
) -> None:
    """An interrupted one is taken up again under its own key; while one works, its page is fetched again."""
    run = m.Run(run_id="run_1", provider="mock", state=state, stage=m.RUN_STAGE_COMPARING)
    run.from_time.seconds = 1_800_000_000
    console = saying_console("x", tmp_path)
    console.gateway = replace(console.gateway, client=cast(LedgerClient, Telling(run)))
    async with visiting(console) as browser:
        shown = (await browser.get("/t/x/runs/run_1")).text
    assert told in shown
    assert ('action="/t/x/runs/run_1/again"' in shown) == is_offered
    assert ("data-again" in shown) == (state == m.RUN_STATE_RUNNING)
