"""Own how adjustments go through the console over a real ledger: asked by one, approved by another."""

from __future__ import annotations

import asyncio

from tests.console.house import House, form_of
from tests.support.adjusters import CANCELLED, POSTED, REJECTED, REQUESTED, Adjusters

LIST = "/t/casino/adjustments"
ADJUST = "/t/casino/players/ann/adjust"
WALLET = "player:ann:real:EUR"
WANTED = {
    "account": WALLET,
    "direction": "credit",
    "amount": "12.50",
    "house": "house",
    "reason": "goodwill",
    "description": "<i>a lost bet</i>",
    "reference": "case-7",
}


async def test_adjustment_is_seen_asked_once_and_posted_by_another_person(house: House) -> None:
    """Who asked finds no button and is refused; who was slower is told; the money has moved once."""
    await house.funded(10_000)
    async with await house.signed_in() as ada, await house.signed_in("grace") as grace:
        typing = form_of((await ada.get(ADJUST)).text, "/adjust")
        looked = (await ada.post(ADJUST, {**typing, **WANTED})).text
        form = form_of(looked, "/adjust/confirmed")
        both = await asyncio.gather(*(ada.post(f"{ADJUST}/confirmed", form) for _ in range(2)))
        page = both[0].headers["location"]
        mine = (await ada.get(page)).text
        forged = await ada.post(
            f"{page}/approve",
            {"csrf": form_of(mine, "/sign-out")["csrf"], "key": form["key"], "seen_state": "1", "note": ""},
        )
        before = await house.ledger.posted(WALLET)
        listed = (await grace.get(LIST)).text
        approving = form_of((await grace.get(page)).text, "/approve")
        done = [await grace.post(f"{page}/approve", {**approving, "note": "seen"}) for _ in range(2)]
        late = await ada.post(f"{page}/cancel", {**form_of(mine, "/cancel"), "note": "mine"})
        after = (await ada.get(page)).text
    assert "12.50" in looked
    assert "It waits for a second person" in looked
    assert [each.status_code for each in both] == [303, 303]
    assert both[0].headers["location"] == both[1].headers["location"]
    assert "/approve" not in mine
    assert "another person has to approve it" in mine
    assert forged.status_code == 409
    assert "SECOND_PERSON_REQUIRED" in forged.text
    assert page.rpartition("/")[2] in listed
    assert [each.status_code for each in done] == [303, 303]
    assert late.status_code == 409
    assert "ADJUSTMENT_STATE_MISMATCH" in late.text
    assert (before, await house.ledger.posted(WALLET)) == (10_000, 11_250)
    assert "&lt;i&gt;a lost bet&lt;/i&gt;" in after


async def test_taking_from_a_player_is_rejected_or_taken_back_and_moves_nothing(house: House) -> None:
    """A rejection wants a reason; who asked takes back, and nobody else."""
    await house.funded(10_000)
    adjusters = Adjusters(house.ledger)
    pages = []
    async with await house.signed_in() as ada, await house.signed_in("grace") as grace:
        for _ in range(2):
            typing = form_of((await ada.get(ADJUST)).text, "/adjust")
            looked = (await ada.post(ADJUST, {**typing, **WANTED, "direction": "debit"})).text
            answer = await ada.post(f"{ADJUST}/confirmed", form_of(looked, "/adjust/confirmed"))
            pages.append(answer.headers["location"])
        form = form_of((await grace.get(pages[0])).text, "/reject")
        missing = await grace.post(f"{pages[0]}/reject", {**form, "note": " "})
        await grace.post(f"{pages[0]}/reject", {**form, "note": "no proof"})
        forged = await grace.post(f"{pages[1]}/cancel", {**form, "key": form["key"][:-1] + "0", "note": ""})
        await ada.post(
            f"{pages[1]}/cancel", {**form_of((await ada.get(pages[1])).text, "/cancel"), "note": ""}
        )
        file = (await ada.get(f"{LIST}.csv?state=0")).text
    assert (missing.status_code, forged.status_code) == (422, 409)
    assert "REQUESTER_REQUIRED" in forged.text
    found = [await adjusters.get(page.rpartition("/")[2]) for page in pages]
    assert [each.state for each in found] == [REJECTED, CANCELLED]
    assert (found[0].rejected_by, found[0].end_reason) == ("grace", "no proof")
    assert await house.ledger.posted(WALLET) == 10_000
    assert file.count("no proof") == 2
    assert {REQUESTED, POSTED}.isdisjoint({each.state for each in found})


async def test_what_can_not_be_read_or_is_not_the_players_is_told(house: House) -> None:
    """What was typed stays; who may not ask sees no form and is refused by the ledger."""
    await house.funded(10_000)
    async with await house.signed_in() as ada, await house.signed_in("rob") as rob:
        typing = form_of((await ada.get(ADJUST)).text, "/adjust")
        wrong = [
            await ada.post(ADJUST, {**typing, **WANTED, **change})
            for change in ({"amount": "1,2"}, {"account": "house"}, {"reason": ""}, {"house": ""})
        ]
        unknown = {**typing, **WANTED, "house": "nowhere"}
        refused = await ada.post(
            f"{ADJUST}/confirmed", form_of((await ada.post(ADJUST, unknown)).text, "/confirmed")
        )
        form = form_of((await ada.post(ADJUST, {**typing, **WANTED})).text, "/adjust/confirmed")
        shown = (await rob.get(ADJUST)).text
        head = await house.ledger.head()
        forged = await rob.post(f"{ADJUST}/confirmed", {**form, "csrf": form_of(shown, "/sign-out")["csrf"]})
        assert await house.ledger.head() == head
    assert [each.status_code for each in wrong] == [422] * 4
    assert "case-7" in wrong[0].text
    assert refused.status_code == 404
    assert "There is no such account." in refused.text
    assert forged.status_code == 403
    assert "does not let you ask for adjustments" in shown
