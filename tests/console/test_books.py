"""Own the books on pages: sums, the tree of accounts, transactions as pictures, the journal and its check."""

from __future__ import annotations

import asyncio
import csv
import io
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from defter.ledger.v1 import account_pb2, posting_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from console import journal_pages
from console.branches import branches
from console.formats import moment_of
from console.legs import MOST_LEGS, picture
from defter_client import messages as m
from signed_notes.notes import Note, SignerKey
from tests.console.house import TENANT, Browser, House, form_of, open_house
from tests.support.patience import HANG_SECONDS

BASE = f"/t/{TENANT}"
WALLET = "player:ann:real:EUR"


@pytest.fixture
async def signing_house(database_url: str, tmp_path: Path) -> AsyncIterator[House]:
    """A house whose console signs statements."""
    key = tmp_path / "statement.key"
    key.write_text(f"{SignerKey.new('console.example').private_text()}\n")
    async with open_house(database_url, tmp_path, statement_key_file=key) as found:
        yield found


async def test_trial_balance_says_that_debits_equal_credits_and_is_a_file(house: House) -> None:
    """The page comes at once, and the sums with its second fetch; the file has the same sums."""
    await house.funded(12_345)
    async with await house.signed_in() as ada:
        at_once = (await ada.get(f"{BASE}/trial-balance")).text
        counted = (await ada.get(f"{BASE}/trial-balance?counted=yes")).text
        file = (await ada.get(f"{BASE}/trial-balance.csv")).text
    assert "<progress" in at_once
    assert "Debits equal credits" in counted
    assert "123.45" in counted
    rows = list(csv.DictReader(io.StringIO(file.lstrip("\ufeff"))))
    assert sum(float(row["posted_debits"]) for row in rows) == 123.45
    assert {row["as_of_record"] for row in rows} == {str(await house.ledger.head())}


async def test_accounts_are_a_tree_and_each_has_its_lines(house: House) -> None:
    """Known roots are offered, a prefix leads down, and an account's lines have the balance after each."""
    await house.funded(10_000)
    await house.funded(10_000, player="bob")
    await house.ledger.post(WALLET, "house", 2_500)
    async with await house.signed_in() as ada:
        root = (await ada.get(f"{BASE}/accounts")).text
        branch = (await ada.get(f"{BASE}/accounts?prefix=player:")).text
        account = (await ada.get(f"{BASE}/accounts/{WALLET}")).text
        oldest = (await ada.get(f"{BASE}/accounts/{WALLET}/postings.csv?order=oldest&lines=posted")).text
        hostile = (await ada.get(f"{BASE}/accounts?prefix=<script>%E2%80%AEx")).text
        missing = await ada.get(f"{BASE}/accounts/player:nobody:real:EUR")
    assert "<script>" not in hostile
    assert "prefix=player%3A" in root
    assert "prefix=psp%3A" in root
    assert "accounts/player%3Aann%3Areal%3AEUR" in branch
    assert account.index("75.00") < account.index("100.00")
    rows = list(csv.DictReader(io.StringIO(oldest.lstrip("\ufeff"))))
    assert [row["posted_balance"] for row in rows] == ["100.00", "75.00"]
    assert (missing.status_code, "There is no such account." in missing.text) == (404, True)


async def test_transaction_is_a_picture_with_who_has_asked_and_its_reversal(house: House) -> None:
    """Both sides of a reversal name each other; the table has what the picture has."""
    await house.funded(10_000)
    key = "an-idempotency-key"
    posted = await house.ledger.post(WALLET, "house", 700, key=key)
    mirror = await house.ledger.reverse(posted.transaction_id)
    async with await house.signed_in() as ada, await house.signed_in("nobody") as nobody:
        found = await ada.get(f"{BASE}/search?q={posted.transaction_id}")
        page = (await ada.get(found.headers["location"])).text
        reversal = (await ada.get(f"{BASE}/transactions/{mirror.transaction_id}")).text
        refused = await nobody.get(f"{BASE}/transactions/{posted.transaction_id}")
    assert re.search(r'<svg class="legs" role="img"', page)
    assert page.count("7.00 EUR") == 2
    assert key in page
    assert "spiffe://d/root" in page
    assert f"/transactions/{mirror.transaction_id}" in page
    assert f"/transactions/{posted.transaction_id}" in reversal
    assert refused.status_code == 403


async def test_journal_is_read_by_sequence_kind_and_time_and_proves_each_record(house: House) -> None:
    """What a filter leaves out is not shown, a time leads to the records up to it, and a hash follows."""
    await house.funded()
    for number in range(60):
        await house.ledger.post(WALLET, "house", number + 1)
    last = await house.ledger.post(WALLET, "house", 99)
    head = await house.ledger.head()
    async with await house.signed_in() as ada:
        newest = (await ada.get(f"{BASE}/journal")).text
        older = (await ada.get(f"{BASE}/journal?before={head - 49}")).text
        opened = (await ada.get(f"{BASE}/journal?kind=account_opened")).text
        moment = moment_of(last.record_time)
        assert moment is not None
        long_ago = (moment - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%S")
        early = (await ada.http.get(f"{BASE}/journal?time={long_ago}", follow_redirects=True)).text
        first = (await ada.get(f"{BASE}/journal/1")).text
        record = (await ada.get(f"{BASE}/journal/{last.sequence}")).text
        lost = [await ada.get(f"{BASE}/journal/{wrong}") for wrong in ("0", "x", str(head + 1))]
    shown = set(re.findall(r'id="record-(\d+)"', newest))
    assert shown == {str(each) for each in range(head - 49, head + 1)}
    assert set(re.findall(r'id="record-(\d+)"', older)) == {str(each) for each in range(1, head - 49)}
    assert set(re.findall(r'id="record-(\d+)"', opened)) < set(
        re.findall(r'id="record-(\d+)"', newest + older)
    )
    assert "There is no record before this one." in early
    assert "The hash follows from the one before" in first
    assert "The hash follows from the one before" in record
    assert "0.99" in record
    assert [each.status_code for each in lost] == [404] * 3


async def test_check_ends_in_a_statement_that_the_public_key_verifies(signing_house: House) -> None:
    """It goes on without its page, is nobody else's, and names what was found."""
    house = signing_house
    await house.funded()
    async with await house.signed_in() as ada, await house.signed_in("grace") as grace:
        form = form_of((await ada.get(f"{BASE}/verification")).text, "/verification")
        begun = await ada.post(f"{BASE}/verification", form)
        path = begun.headers["location"]
        page = await _ended(ada, path)
        statement = await ada.get(f"{path}/statement.txt")
        others = [await grace.get(path), await grace.get(f"{path}/statement.txt")]
        tenant = await house.ledger.tenant()
    assert "Everything agrees" in page
    [verifier] = (SignerKey.parse((house.folder / "statement.key").read_text().strip()).verifier,)
    note = Note.parse(statement.text)
    assert note.signed_by([verifier]) == [verifier]
    lines = note.text.splitlines()
    assert lines[0] == f"console.example/{TENANT}"
    assert f"records 1 to {tenant.head_sequence}" in lines
    assert "result agrees" in lines
    assert "asked by ada" in lines
    assert [each.status_code for each in others] == [404, 404]


async def test_who_may_not_have_it_checked_sees_no_button_and_begins_nothing(house: House) -> None:
    """A forged form is refused by the ledger's word."""
    async with await house.signed_in("rob") as rob:
        shown = (await rob.get(f"{BASE}/verification")).text
        csrf = form_of(shown, "/sign-out")["csrf"]
        forged = await rob.post(f"{BASE}/verification", {"csrf": csrf})
    assert f'action="{BASE}/verification"' not in shown
    assert forged.status_code == 403


async def _ended(browser: Browser, path: str) -> str:
    async with asyncio.timeout(HANG_SECONDS):
        while "<progress" in (page := (await browser.get(path)).text):  # noqa: ASYNC110  # another process's
            await asyncio.sleep(0.05)
    return page


# Without a ledger: what a page makes of what it reads.

IDS = st.lists(st.sampled_from(["a", "b", "c", "aa", ""]), min_size=1, max_size=4).map(":".join)


@given(st.sets(IDS.filter(bool), min_size=1, max_size=20), st.booleans())
def test_each_account_is_in_one_branch(ids: set[str], has_more: bool) -> None:
    """Nothing is left out, and only the last branch of a page can go on."""
    items = [
        m.ListAccountsResponse.Item(account=m.Account(account_id=each, currency_code="EUR"))
        for each in sorted(ids)
    ]
    found = branches(items, "", has_more=has_more)
    assert [item.account.account_id for each in found for item in each.items] == sorted(ids)
    assert [each.is_whole for each in found] == [True] * (len(found) - 1) + [not has_more]
    for each in found:
        assert all(item.account.account_id.startswith(each.prefix) for item in each.items)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 2**62), st.sampled_from(["EUR", "TRY"])), max_size=40)
)
def test_legs_stay_in_the_picture_and_do_not_touch(legs: list[tuple[bool, int, str]]) -> None:
    """What is not drawn is counted."""
    drawn = picture(
        [
            posting_pb2.Posting(
                account_id=f"account:{number}",
                direction=account_pb2.DIRECTION_CREDIT if gives else account_pb2.DIRECTION_DEBIT,
                amount_minor=amount,
                currency_code=currency,
            )
            for number, (gives, amount, currency) in enumerate(legs)
        ]
    )
    shown = [leg for bundle in drawn.bundles for leg in bundle.legs]
    assert len(shown) + sum(bundle.left_out for bundle in drawn.bundles) == len(legs)
    for gives in (True, False):
        places = [leg.y for leg in shown if leg.gives is gives]
        assert all(later - earlier >= 28 for earlier, later in pairwise(places))
        assert all(14 <= y <= drawn.height - 14 for y in places)
    for bundle in drawn.bundles:
        assert all(bundle.top < leg.y < bundle.top + bundle.height for leg in bundle.legs)
        assert len(bundle.legs) <= 2 * MOST_LEGS


@settings(max_examples=30)
@given(st.integers(0, 150), st.integers(1, 160), st.integers(1, 30), st.integers(1, 60))
async def test_window_shows_each_record_once_and_looks_at_a_bounded_number(
    head: int, before: int, size: int, short: int
) -> None:
    """Page by page nothing is left out, whatever the ledger's pages are cut to."""
    entries = [
        m.JournalEntry(
            sequence=each,
            record_bytes=m.JournalRecord(
                sequence=each,
                epoch_begun=m.EpochBegun() if each % 7 == 0 else None,
                player_forgotten=None if each % 7 == 0 else m.PlayerForgotten(),
            ).SerializeToString(),
        )
        for each in range(1, head + 1)
    ]
    calls = 0

    async def read(after: int, limit: int) -> list[m.JournalEntry]:
        nonlocal calls
        calls += 1
        return entries[after : after + min(limit, short)]

    end: int = min(before, head + 1)
    seen: list[int] = []
    while end > 1:
        calls = 0
        window = await journal_pages.window(read, end, size, ("epoch_begun",))
        assert calls <= 13
        assert window.begin < end
        seen += [line.sequence for line in window.lines]
        end = window.begin
    assert seen == [each for each in range(min(before, head + 1) - 1, 0, -1) if each % 7 == 0]
