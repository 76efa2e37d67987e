"""Own what else is done with withdrawals over a real, guarded ledger: found, claimed, noted, paid."""

from __future__ import annotations

import asyncio
import csv
import io
import re
from typing import Any

import pytest
from defter.payments.v1 import payment_pb2
from hypothesis import given
from hypothesis import strategies as st

from console import bulk
from defter_client import messages as m
from tests.console.house import Browser, House, form_of

LIST = "/t/casino/withdrawals"
POLICY = "/t/casino/withdrawal-policy"
REQUESTED, APPROVED, PAID = (
    payment_pb2.WITHDRAWAL_STATE_REQUESTED,
    payment_pb2.WITHDRAWAL_STATE_APPROVED,
    payment_pb2.WITHDRAWAL_STATE_PAID,
)


def ids_on(page: str) -> list[str]:
    """Return the withdrawals that are rows of a page, in its order."""
    return re.findall(r'<tr id="(wd_[^"]*)"', page)


def choices_of(page: str) -> dict[str, str]:
    """Return what can be chosen on a page."""
    return dict(
        re.findall(r'<input type="checkbox" class="choose" form="bulk" name="([^"]*)" value="([^"]*)"', page)
    )


async def sent(browser: Browser, page: str, act: str, **fields: str) -> Any:
    """Send the form of an act as the page has it now."""
    form = form_of((await browser.get(page)).text, f"/{act}")
    return await browser.post(f"{page}/{act}", {**form, **fields})


async def test_withdrawals_are_found_by_amount_reference_and_state_and_counted(house: House) -> None:
    """The file has the same; an amount without its currency, or one that reads in two ways, is told."""
    await house.funded()
    small, middle, large = [
        (await house.cashier.request(amount, reference=f"r{amount}")).withdrawal_id
        for amount in (100, 1_300, 5_000)
    ]
    await house.cashier.approve(large)
    async with await house.signed_in("rob") as rob:

        async def found(query: str) -> list[str]:
            return ids_on((await rob.get(f"{LIST}?{query}")).text)

        assert await found("least=12.34&currency=eur&state=0") == [middle, large]
        assert await found("least=12.34&most=20&currency=EUR&state=0") == [middle]
        assert await found("reference=r100") == [small]
        assert await found("state=open&order=newest") == [large, middle, small]
        assert await found("state=lost") == []
        file = (await rob.get(f"{LIST}.csv?state=0&least=12.34&currency=EUR")).text
        rows = list(csv.DictReader(io.StringIO(file.removeprefix("\N{BYTE ORDER MARK}"))))
        wrong = [
            await rob.get(f"{LIST}?{query}")
            for query in ("least=5", "least=x&currency=EUR", "least=9&most=5&currency=EUR")
        ]
        counted = (await rob.get(LIST)).text
    assert [row["withdrawal_id"] for row in rows] == [middle, large]
    assert [each.status_code for each in wrong] == [422] * 3
    counts = " ".join(
        re.sub(r"<[^>]*>", " ", counted.partition('class="counts"')[2].partition("</ul>")[0]).split()
    )
    assert "to review : 2 · 14.00 EUR" in counts
    assert "approved, not paid yet : 1 · 50.00 EUR" in counts


async def test_what_waits_for_me_leaves_out_what_others_have_to_do(house: House) -> None:
    """What I have approved, or a colleague works on; whoever is told so may take it over."""
    await house.funded()
    await house.cashier.set_policy(second_review_from_minor={"EUR": 400})
    both, theirs, mine = [(await house.cashier.request(500)).withdrawal_id for _ in range(3)]
    async with await house.signed_in() as ada, await house.signed_in("grace") as grace:
        await sent(ada, f"{LIST}/{both}", "approve", note="")
        stale = form_of((await ada.get(f"{LIST}/{theirs}")).text, "/claim")
        await sent(grace, f"{LIST}/{theirs}", "claim")
        for_ada = ids_on((await ada.get(f"{LIST}?mine=yes")).text)
        for_grace = ids_on((await grace.get(f"{LIST}?mine=yes")).text)
        refused = await ada.post(f"{LIST}/{theirs}/claim", stale)
        assert "Worked on by" in (await ada.get(LIST)).text
        taken = form_of(refused.text, "/take-over")
        both_times = [await ada.post(f"{LIST}/{theirs}/take-over", taken) for _ in range(2)]
        claim = (await house.cashier.withdrawal(theirs)).claim
        await sent(ada, f"{LIST}/{theirs}", "release")
    assert for_ada == [mine]
    assert for_grace == [both, theirs, mine]
    assert refused.status_code == 409
    assert "Somebody else works on it." in refused.text
    assert [each.status_code for each in both_times] == [303, 303]
    assert (claim.reviewer, claim.identity) == ("ada", "token:ada")
    assert not (await house.cashier.withdrawal(theirs)).HasField("claim")


async def test_decision_about_what_was_not_seen_is_refused_and_told(house: House) -> None:
    """Somebody has approved it meanwhile: the page in hand shows none, so it may not be the second."""
    await house.funded()
    await house.cashier.set_policy(second_review_from_minor={"EUR": 400})
    withdrawal = (await house.cashier.request(500)).withdrawal_id
    page = f"{LIST}/{withdrawal}"
    async with await house.signed_in() as ada, await house.signed_in("grace") as grace:
        form = form_of((await ada.get(page)).text, "/approve")
        await sent(grace, page, "approve", note="")
        late = await ada.post(f"{page}/approve", {**form, "note": "as I saw it"})
        assert (await house.cashier.withdrawal(withdrawal)).state == REQUESTED
        anew = form_of(late.text, "/approve")
        done = await ada.post(f"{page}/approve", {**anew, "note": "as it is"})
        forged = await ada.post(f"{page}/approve", {k: v for k, v in anew.items() if k != "seen_state"})
    assert late.status_code == 409
    assert "It is not as you have seen it" in late.text
    assert anew["key"] != form["key"]
    assert (done.status_code, forged.status_code) == (303, 400)
    assert (await house.cashier.withdrawal(withdrawal)).state == APPROVED


async def test_notes_stand_and_are_added_once(house: House) -> None:
    """The same form adds one; an empty one is none."""
    await house.funded()
    page = f"{LIST}/{(await house.cashier.request(500)).withdrawal_id}"
    async with await house.signed_in() as ada:
        form = form_of((await ada.get(page)).text, "/note")
        empty = await ada.post(f"{page}/note", {**form, "note": " "})
        for _ in range(2):
            await ada.post(f"{page}/note", {**form, "note": "<b>asked</b>"})
        shown = (await ada.get(page)).text
    assert empty.status_code == 422
    found = await house.cashier.withdrawal(page.rpartition("/")[2])
    assert [(each.reviewer, each.text) for each in found.notes] == [("ada", "<b>asked</b>")]
    assert "&lt;b&gt;asked&lt;/b&gt;" in shown


async def test_payment_by_hand_is_confirmed_with_a_reference_and_recorded_once(house: House) -> None:
    """Without a reference it is asked for; who may not sees no form and is refused by the ledger."""
    await house.funded()
    withdrawal = (await house.cashier.request(500)).withdrawal_id
    page = f"{LIST}/{withdrawal}"
    async with await house.signed_in() as ada, await house.signed_in("rob") as rob:
        early = (await ada.get(f"{page}/paid")).text
        await sent(ada, page, "approve", note="")
        await house.cashier.until_called()
        shown = (await ada.get(f"{page}/paid")).text
        form = form_of(shown, "/paid")
        missing = await ada.post(f"{page}/paid", {**form, "provider_ref": " "})
        hidden = (await rob.get(f"{page}/paid")).text
        csrf = form_of(hidden, "/sign-out")["csrf"]
        forged = await rob.post(f"{page}/paid", {**form, "csrf": csrf, "provider_ref": "bank-77"})
        before = (await house.cashier.withdrawal(withdrawal)).state
        both = await asyncio.gather(
            *(ada.post(f"{page}/paid", {**form, "provider_ref": "bank-77"}) for _ in range(2))
        )
    assert "/paid" not in re.sub(r'href="[^"]*"|value="[^"]*"', "", early)
    assert (missing.status_code, forged.status_code, before) == (422, 403, APPROVED)
    assert "PERMISSION_MISSING" in forged.text
    assert [each.status_code for each in both] == [303, 303]
    found = await house.cashier.withdrawal(withdrawal)
    assert (found.state, found.provider_ref, found.reviewer) == (PAID, "bank-77", "ada")


async def test_policy_is_changed_by_who_may_if_nobody_has_changed_it_meanwhile(house: House) -> None:
    """Each wrong line is told; the same form again is one change."""
    async with await house.signed_in() as ada, await house.signed_in("rob") as rob:
        form = form_of((await ada.get(POLICY)).text, "withdrawal-policy")
        rows = {"currency_0": "eur", "amount_0": "4.00", "player_may_cancel": "yes"}
        wrong = await ada.post(POLICY, {**form, **rows, "currency_1": "EUR", "amount_1": "5"})
        worse = await ada.post(POLICY, {**form, **rows, "amount_0": "4.001"})
        done, again = [await ada.post(POLICY, {**form, **rows}) for _ in range(2)]
        late = await ada.post(
            POLICY, {**form, "key": form["key"][:-1] + "0", "currency_0": "EUR", "amount_0": "9"}
        )
        shown = (await rob.get(POLICY)).text
        csrf = form_of(shown, "/sign-out")["csrf"]
        now = form_of((await ada.get(POLICY)).text, "withdrawal-policy")
        forged = await rob.post(POLICY, {**now, "csrf": csrf})
    assert (wrong.status_code, worse.status_code) == (422, 422)
    assert "A currency stands there twice." in wrong.text
    assert (done.status_code, again.status_code, late.status_code, forged.status_code) == (303, 303, 409, 403)
    assert "4.00" in shown
    assert '<form method="post" action="/t/casino/withdrawal-policy"' not in shown
    found = await house.cashier.policy()
    assert (found.player_may_cancel, dict(found.second_review_from_minor)) == (True, {"EUR": 400})


async def test_small_ones_are_chosen_shown_and_approved_each_by_itself(house: House) -> None:
    """One of them is decided meanwhile: it alone is told as not done; the form again moves nothing."""
    await house.funded()
    ids = [(await house.cashier.request(100 * number)).withdrawal_id for number in (1, 2, 3)]
    large = (await house.cashier.request(1_100)).withdrawal_id
    async with await house.signed_in() as ada:
        listed = (await ada.get(LIST)).text
        chosen = choices_of(listed)
        assert set(chosen) == {f"w:{each}" for each in ids}
        csrf = form_of(listed, "/bulk")
        none = await ada.post(f"{LIST}/bulk", csrf)
        shown = await ada.post(f"{LIST}/bulk", {**csrf, **chosen, f"w:{large}": "1.0"})
        form = form_of(shown.text, "/bulk/approve")
        assert set(form) == {"csrf", "key", *chosen}
        await house.cashier.reject(ids[1], reason="no")
        sneaked = {**form, f"w:{large}": "1.0", "note": "small"}
        result = await ada.post(f"{LIST}/bulk/approve", sneaked)
        again = await ada.post(f"{LIST}/bulk/approve", sneaked)
    assert none.status_code == 422
    assert "its amount is too large" in shown.text
    assert "6.00" in shown.text
    assert result.status_code == again.status_code == 409
    for page in (result.text, again.text):
        assert ids_on(page) == [*ids, large]
        assert page.count("✗") == 2
        assert "WITHDRAWAL_STATE_MISMATCH" in page
    assert "was done by the same form before" in again.text
    states = [(await house.cashier.withdrawal(each)).state for each in (*ids, large)]
    assert [state == REQUESTED for state in states] == [False, False, False, True]
    approvals = [(await house.cashier.withdrawal(each)).approvals for each in ids]
    assert [[(e.reviewer, e.note) for e in each] for each in approvals] == [
        [("ada", "small")],
        [],
        [("ada", "small")],
    ]


async def test_who_may_not_approve_chooses_nothing_and_is_refused_line_by_line(house: House) -> None:
    """Without the setting, or without the right, there are no boxes; the ledger refuses each forged line."""
    await house.funded()
    withdrawal = (await house.cashier.request(100)).withdrawal_id
    async with await house.signed_in("rob") as rob, await house.signed_in() as ada:
        listed = (await rob.get(LIST)).text
        csrf = form_of(listed, "/sign-out")["csrf"]
        key = form_of((await ada.get(f"{LIST}/{withdrawal}")).text, "/approve")["key"]
        forged = {"csrf": csrf, "key": key, f"w:{withdrawal}": "1.0"}
        refused = await rob.post(f"{LIST}/bulk/approve", forged)
        odd = await rob.post(f"{LIST}/bulk/approve", {**forged, "w:../x": "1.0"})
    assert choices_of(listed) == {}
    assert refused.status_code == 409
    assert "PERMISSION_MISSING" in refused.text
    assert odd.status_code == 400
    assert (await house.cashier.withdrawal(withdrawal)).state == REQUESTED


@given(
    st.integers(1, 2**63 - 1),
    st.sampled_from(["EUR", "TRY", "JPY"]),
    st.dictionaries(st.sampled_from(["EUR", "TRY"]), st.integers(1, 2**63 - 1)),
    st.dictionaries(st.sampled_from(["EUR", "JPY"]), st.integers(1, 2**63 - 1)),
)
def test_no_withdrawal_is_small_above_a_bound(
    amount: int, currency: str, most: dict[str, int], two: dict[str, int]
) -> None:
    """Generated: it is small only within the setting of its currency and below what two people approve."""
    found = m.Withdrawal(amount_minor=amount, currency_code=currency)
    policy = m.WithdrawalPolicy(second_review_from_minor=two)
    small = not bulk.size_problem(found, most, policy)
    assert small == (
        currency in most and amount <= most[currency] and (currency not in two or amount < two[currency])
    )


@pytest.mark.parametrize("value", ["", "1", "1.0.0", "-1.0", "1.٣", "1.0 "])
def test_choice_that_no_page_has_is_refused(value: str) -> None:
    """What was seen is part of the choice."""
    with pytest.raises(ValueError, match="w:wd_1"):
        bulk.read({"w:wd_1": value})
