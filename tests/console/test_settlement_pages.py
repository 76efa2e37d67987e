"""Own the pages of settlement over a real ledger: a file is looked at, imported once, its batch confirmed."""

from __future__ import annotations

import asyncio
import csv
import io
import re

import httpx
import pytest

from tests.console.house import Browser, House, form_of
from tests.support.fake_provider import PROVIDER
from tests.support.patience import HANG_SECONDS
from tests.support.settlement import CONFIRMED, STRIPE, Settler, charge, paid, stripe_file

BASE = "/t/casino/settlement"
FACTS = {"provider": PROVIDER, "format": str(int(STRIPE)), "account": "", "encoding": "utf-8"}
BATCH = f"{BASE}/batch?provider={PROVIDER}&batch=po_1&currency=EUR"
CONFIRM = f"{BASE}/batch/confirm?provider={PROVIDER}&batch=po_1&currency=EUR"
FILE = stripe_file([charge(2_000, 50, name="a"), charge(1_000, name="b"), paid(2_950)])


async def sent(
    browser: Browser, data: bytes = FILE, name: str = "report.csv", **facts: str
) -> httpx.Response:
    """Send a file by the form of the page."""
    form = form_of((await browser.get(f"{BASE}/import")).text, "/import")
    return await browser.send(f"{BASE}/import", {**form, **FACTS, **facts}, data, name)


async def until(browser: Browser, path: str, text: str) -> str:
    """Open a page until it says something, as the page itself does while work is under way."""
    async with asyncio.timeout(HANG_SECONDS):
        while text not in (shown := (await browser.get(path)).text):
            assert "data-again" in shown, shown
    return shown


async def test_file_is_looked_at_imported_once_and_its_batch_confirmed(house: House) -> None:
    """Nothing is there before somebody says so; twice is one import; the bank's amount has to agree."""
    settler = Settler(house.ledger)
    async with await house.signed_in() as ada:
        answer = await sent(ada, name="../../rapor <1>.csv")
        assert answer.status_code == 303, answer.text
        page = answer.headers["location"]
        looked = await until(ada, page, "Report, not imported yet")
        assert await settler.batches() == []
        assert "rapor &lt;1&gt;.csv" in looked
        assert "../" not in looked
        assert "30.00" in looked
        assert "29.50" in looked
        assert "txn_a" in looked

        form = form_of(looked, f"{page.rpartition('/')[2]}/import")
        both = await asyncio.gather(*(ada.post(f"{page}/import", form) for _ in range(2)))
        assert [each.status_code for each in both] == [303, 303]
        done = await until(ada, page, "Report, imported")
        assert "All of the file is imported." in done
        again = (await sent(ada)).headers["location"]
        known = await until(ada, again, "Report, not imported yet")
        assert "This file was imported before." in known

        confirming = (await ada.get(CONFIRM)).text
        form = {**form_of(confirming, "currency=EUR"), "bank": "main", "reference": "STMT 7"}
        for typed, told in (
            ("29.49", "This is not what"),
            ("29", "This is not what"),
            ("x", "This is no amount"),
        ):
            refused = await ada.post(CONFIRM, {**form, "amount": typed})
            assert refused.status_code == 422
            assert told in refused.text
        # A name that nobody has used is one that was misspelt, until somebody says that it is new.
        unknown = await ada.post(CONFIRM, {**form, "amount": "29.50", "bank": "mian"})
        assert unknown.status_code == 422
        assert "if it is misspelt" in unknown.text
        assert 'name="new_bank"' in unknown.text
        assert (await settler.batch()).state != CONFIRMED
        for _ in range(2):
            confirmed = await ada.post(CONFIRM, {**form, "amount": "29.50", "new_bank": "yes"})
            assert confirmed.headers["location"] == BATCH
        shown = (await ada.get(BATCH)).text
        assert "nothing was done twice" in shown
        assert "There is nothing to do any more." in shown
        other = await ada.post(CONFIRM, {**form, "amount": "29.50", "bank": "other", "new_bank": "yes"})
        assert other.status_code == 400
        assert "The batch was confirmed before" in other.text
        rows = list(csv.reader(io.StringIO((await ada.get(f"{BASE}.csv")).text.removeprefix("\ufeff"))))
        lines = list(csv.reader(io.StringIO((await ada.get(BATCH.replace("batch?", "batch.csv?"))).text[1:])))
    batch = await settler.batch()
    assert batch.state == CONFIRMED
    moved = (await house.ledger.transaction(batch.transaction_id)).transaction
    assert (moved.metadata["actor"], moved.metadata["bank_reference"]) == ("ada", "STMT 7")
    assert rows[1][:4] == ["po_1", PROVIDER, "EUR", "SETTLEMENT_BATCH_STATE_CONFIRMED"]
    assert rows[1][4:11] == ["30.00", "-0.50", "0.00", "0.00", "0.00", "29.50", "29.50"]
    assert [line[0] for line in lines[1:]] == ["txn_a", "txn_b", "txn_po_1"]


async def test_refusal_of_a_file_names_its_lines_and_keeps_nothing(house: House) -> None:
    """What the ledger says of a line is shown as text."""
    wrong = charge(1_000, name="<b>bold</b>").replace("10.00,0.00,10.00", "10.00,0.00,11.00", 1)
    async with await house.signed_in() as ada:
        page = (await sent(ada, stripe_file([charge(5), wrong]))).headers["location"]
        async with asyncio.timeout(HANG_SECONDS):
            while (shown := await ada.get(page)).status_code == 200:
                assert "data-again" in shown.text
        assert shown.status_code == 422
        assert "line 3" in shown.text
        assert "REPORT_MALFORMED" in shown.text
        assert "/import&#34;" not in shown.text
        assert f'action="{page}/import"' not in shown.text
    assert await Settler(house.ledger).batches() == []


@pytest.mark.parametrize(
    ("data", "encoding", "told"),
    [
        (b"", "utf-8", "The file is empty"),
        (b"PK\x03\x04rest", "utf-8", "This is no text"),
        (b"\x1f\x8b\x08rest", "utf-8", "This is no text"),
        (b"a,b\n1,\x00\n", "utf-8", "This is no text"),
        (b"a,b\n1,2\n\xfe\xff,3\n", "utf-8", "Line: 3"),
    ],
)
async def test_what_is_no_text_goes_no_further(house: House, data: bytes, encoding: str, told: str) -> None:
    """It is told in words, on the form that was sent."""
    async with await house.signed_in() as ada:
        answer = await sent(ada, data, encoding=encoding)
        assert answer.status_code == 422
        assert told in re.sub(r"\s+", " ", answer.text)


async def test_text_in_a_stated_encoding_is_read_as_it(house: House) -> None:
    """The ledger gets UTF-8: Turkish letters of an older sheet are the letters that they were."""
    data = stripe_file([charge(5, name="c1")]).decode().replace("ch_c1", "şğı").encode("cp1254")
    async with await house.signed_in() as ada:
        refused = await sent(ada, data)
        assert refused.status_code == 422
        page = (await sent(ada, data, encoding="cp1254")).headers["location"]
        assert "Report, not imported yet" in await until(ada, page, "Report, not imported yet")


async def test_file_is_of_the_session_that_sent_it_and_its_form_is_of_the_page(house: House) -> None:
    """Nobody else sees it; without the page's token nothing is taken, and without a file neither."""
    async with await house.signed_in() as ada, await house.signed_in() as other:
        page = (await sent(ada)).headers["location"]
        await until(ada, page, "Report, not imported yet")
        assert (await other.get(page)).status_code == 404
        form = form_of((await ada.get(f"{BASE}/import")).text, "/import")
        forged = await ada.send(f"{BASE}/import", {**form, **FACTS, "csrf": "x"}, FILE)
        assert forged.status_code == 403
        plain = await ada.post(f"{BASE}/import", {**form, **FACTS})
        assert plain.status_code == 400
        forgotten = form_of((await ada.get(page)).text, "/forget")
        await ada.post(f"{page}/forget", forgotten)
        assert (await ada.get(page)).status_code == 404


async def test_who_may_only_read_sees_batches_and_is_refused_all_else(house: House) -> None:
    """Buttons are left out, and what is forged is refused by the ledger itself."""
    await Settler(house.ledger).send(FILE)
    async with await house.signed_in("rob") as rob, await house.signed_in() as ada:
        listed, shown = (await rob.get(BASE)).text, (await rob.get(BATCH)).text
        assert "po_1" in listed
        assert "Import a report" not in listed
        assert "txn_a" in shown
        assert "Confirm that the money has arrived" not in shown
        assert "does not let you" in (await rob.get(f"{BASE}/import")).text
        key = form_of((await ada.get(CONFIRM)).text, "currency=EUR")["key"]
        csrf = form_of(listed, "/sign-out")["csrf"]
        form = {"csrf": csrf, "key": key, "bank": "main", "amount": "29.50", "new_bank": "yes"}
        refused = await rob.post(CONFIRM, form)
        assert refused.status_code == 403
        assert "PERMISSION_MISSING" in refused.text
        page = (await rob.send(f"{BASE}/import", {**form, **FACTS}, FILE)).headers["location"]
        async with asyncio.timeout(HANG_SECONDS):
            while (answer := await rob.get(page)).status_code == 200:
                pass
        assert "PERMISSION_MISSING" in answer.text
    assert (await Settler(house.ledger).batch()).state != CONFIRMED
