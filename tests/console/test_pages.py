"""Own what the pages do over a real, guarded ledger: who sees and does what, and nothing is done twice."""

from __future__ import annotations

import asyncio
import csv
import io

from defter.payments.v1 import payment_pb2

from tests.console.house import TENANT, Browser, House, form_of
from tests.support.patience import HANG_SECONDS

REQUESTED, APPROVED, REJECTED, CANCELLED = (
    payment_pb2.WITHDRAWAL_STATE_REQUESTED,
    payment_pb2.WITHDRAWAL_STATE_APPROVED,
    payment_pb2.WITHDRAWAL_STATE_REJECTED,
    payment_pb2.WITHDRAWAL_STATE_CANCELLED,
)
LIST = "/t/casino/withdrawals"


async def test_approval_that_is_sent_twice_counts_once(house: House) -> None:
    """The key is in the form, so a double click, or the form sent again later, has one effect."""
    await house.funded()
    withdrawal = await house.cashier.request(500)
    page = f"{LIST}/{withdrawal.withdrawal_id}"
    async with await house.signed_in() as ada:
        shown = (await ada.get(page)).text
        form = form_of(shown, "/approve")
        both = await asyncio.gather(*(ada.post(f"{page}/approve", {**form, "note": "ok"}) for _ in range(2)))
        again = await ada.post(f"{page}/approve", {**form, "note": "ok"})
        after = (await ada.get(page)).text
    assert [each.status_code for each in (*both, again)] == [303] * 3
    [approval] = (await house.cashier.withdrawal(withdrawal.withdrawal_id)).approvals
    assert (approval.reviewer, approval.note, approval.identity) == ("ada", "ok", "token:ada")
    assert "Your approval is recorded." in after
    assert "nothing was done twice" in after
    assert "There is nothing to decide any more." in after


async def test_two_people_have_to_approve_above_the_limit(house: House) -> None:
    """The first is told so and sees no button again; the second ends it."""
    await house.funded()
    await house.cashier.set_policy(second_review_from_minor={"EUR": 400})
    withdrawal = await house.cashier.request(500)
    page = f"{LIST}/{withdrawal.withdrawal_id}"
    async with await house.signed_in() as ada, await house.signed_in("grace") as grace:
        first = form_of((await ada.get(page)).text, "/approve")
        await ada.post(f"{page}/approve", {**first, "note": ""})
        waiting = (await ada.get(page)).text
        stale = {**first, "key": first["key"][:-1] + "0", "note": ""}
        forged = await ada.post(f"{page}/approve", {**stale, "seen_approvals": "1"})
        second = form_of((await grace.get(page)).text, "/approve")
        await grace.post(f"{page}/approve", {**second, "note": ""})
    assert "A second person has to approve it too." in waiting
    assert f'action="{page}/approve"' not in waiting
    assert forged.status_code == 409
    assert "SECOND_REVIEWER_REQUIRED" in forged.text
    found = await house.cashier.withdrawal(withdrawal.withdrawal_id)
    assert [each.reviewer for each in found.approvals] == ["ada", "grace"]


async def test_who_may_not_sees_no_button_and_the_ledger_refuses_a_forged_form(house: House) -> None:
    """The console does not decide it: the form is sent to the ledger, which refuses it."""
    await house.funded()
    withdrawal = await house.cashier.request(500)
    page = f"{LIST}/{withdrawal.withdrawal_id}"
    head = await house.ledger.head()
    async with await house.signed_in("rob") as rob, await house.signed_in() as ada:
        shown = (await rob.get(page)).text
        csrf = form_of(shown, "/sign-out")["csrf"]
        form = form_of((await ada.get(page)).text, "/approve")
        forged = await rob.post(f"{page}/approve", {**form, "csrf": csrf, "note": ""})
    assert "The ledger does not let you decide" in shown
    assert "/approve" not in shown
    assert forged.status_code == 403
    assert "PERMISSION_MISSING" in forged.text
    # Nothing was decided: not by the forged form, and not by asking what these people may do.
    assert await house.ledger.head() == head
    assert (await house.cashier.withdrawal(withdrawal.withdrawal_id)).state == REQUESTED


async def test_right_that_was_taken_away_is_gone_from_the_page_that_tells_so(house: House) -> None:
    """What is remembered is forgotten as soon as the ledger says otherwise; it never decides."""
    await house.funded()
    withdrawal = await house.cashier.request(500)
    page = f"{LIST}/{withdrawal.withdrawal_id}"
    async with await house.signed_in() as ada:
        form = form_of((await ada.get(page)).text, "/approve")
        await house.take_back("defter.payments.v1.WithdrawalService/ApproveWithdrawal")
        refused = await ada.post(f"{page}/approve", {**form, "note": ""})
    assert refused.status_code == 403
    assert f'action="{page}/approve"' not in refused.text
    assert f'action="{page}/reject"' in refused.text


async def test_who_may_see_nothing_is_told_so_and_not_which_tenants_there_are(house: House) -> None:
    """An unknown tenant and one that may not be seen look alike."""
    async with await house.signed_in("nobody") as nobody:
        known, unknown = [await nobody.get(f"/t/{tenant}") for tenant in (TENANT, "another")]
    assert known.status_code == unknown.status_code == 403
    assert "The ledger does not let you do this." in known.text


async def test_file_of_what_may_not_be_seen_is_refused_as_a_page_is(house: House) -> None:
    """The ledger is asked before the file begins: an answer that has begun can't say that there is none."""
    async with await house.signed_in("nobody") as nobody, await house.signed_in("ada") as ada:
        for name in ("withdrawals", "findings", "deposits", "events"):
            assert (await nobody.get(f"/t/{TENANT}/{name}.csv")).status_code == 403, name
        malformed = await ada.get(f"/t/{TENANT}/withdrawals.csv?player=%00")
        empty = await ada.get(f"/t/{TENANT}/withdrawals.csv?player=nobody")
    assert malformed.status_code == 400
    assert empty.text.count("\r\n") == 1


async def test_rejecting_wants_a_reason_and_gives_the_money_back(house: House) -> None:
    """The form comes back with what was typed; with a reason the ledger has it."""
    await house.funded()
    withdrawal = await house.cashier.request(500)
    page = f"{LIST}/{withdrawal.withdrawal_id}"
    async with await house.signed_in() as ada:
        form = form_of((await ada.get(page)).text, "/reject")
        missing = await ada.post(f"{page}/reject", {**form, "note": "  "})
        form = form_of(missing.text, "/reject")
        await ada.post(f"{page}/reject", {**form, "note": "not the name of the player"})
    assert missing.status_code == 422
    found = await house.cashier.withdrawal(withdrawal.withdrawal_id)
    assert (found.state, found.reason, found.reviewer) == (REJECTED, "not the name of the player", "ada")


async def test_who_was_slower_is_told_kindly_and_sees_it_as_it_stands(house: House) -> None:
    """A colleague has rejected it meanwhile."""
    await house.funded()
    withdrawal = await house.cashier.request(500)
    page = f"{LIST}/{withdrawal.withdrawal_id}"
    async with await house.signed_in() as ada, await house.signed_in("grace") as grace:
        form = form_of((await ada.get(page)).text, "/approve")
        await grace.post(f"{page}/reject", {**form_of((await grace.get(page)).text, "/reject"), "note": "no"})
        late = await ada.post(f"{page}/approve", {**form, "note": "yes"})
    assert late.status_code == 409
    assert "It is not as you have seen it" in late.text
    assert "rejected" in late.text
    assert "There is nothing to decide any more." in late.text


async def test_cancelling_follows_the_tenants_policy(house: House) -> None:
    """Without it there is no such form, and with it the player has the money again."""
    await house.funded()
    withdrawal = await house.cashier.request(500)
    page = f"{LIST}/{withdrawal.withdrawal_id}"
    async with await house.signed_in() as ada:
        before = (await ada.get(page)).text
        await house.cashier.set_policy(player_may_cancel=True)
        form = form_of((await ada.get(page)).text, "/cancel")
        await ada.post(f"{page}/cancel", {**form, "note": "changed their mind"})
    assert "/cancel" not in before
    assert (await house.cashier.withdrawal(withdrawal.withdrawal_id)).state == CANCELLED


async def test_list_filters_by_its_address_and_goes_on_page_by_page(house: House) -> None:
    """Each withdrawal is on one page; what the filter leaves out is on none."""
    await house.funded()
    await house.funded(player="bob")
    ids = [(await house.cashier.request(100)).withdrawal_id for _ in range(55)]
    other = (await house.cashier.request(100, player_id="bob")).withdrawal_id
    async with await house.signed_in() as ada:
        first = (await ada.get(f"{LIST}?player=ann")).text
        assert 'rel="next"' in first
        following = first.partition('rel="next" href="')[2].partition('"')[0].replace("&amp;", "&")
        second = (await ada.get(following)).text
        everything = (await ada.get(f"{LIST}.csv?player=ann")).text
        wrong = await ada.get(f"{LIST}?from=yesterday")
    assert [each for each in ids if f'id="{each}"' in first] == ids[:50]
    assert [each for each in ids if f'id="{each}"' in second] == ids[50:]
    assert other not in first + second + everything
    rows = list(csv.DictReader(io.StringIO(everything.removeprefix("\N{BYTE ORDER MARK}"))))
    assert [row["withdrawal_id"] for row in rows] == ids
    assert {row["amount"] for row in rows} == {"1.00"}
    assert wrong.status_code == 422
    assert "This is no date and time." in wrong.text


async def test_search_leads_to_the_page_of_an_id(house: House) -> None:
    """Whatever appears on a page can be looked up."""
    await house.funded()
    withdrawal = await house.cashier.request(500)
    [deposit] = await house.cashier.deposits()
    ids = [withdrawal.withdrawal_id, withdrawal.hold_id, deposit.deposit_id, "ann", "player:ann:real:EUR"]
    async with await house.signed_in() as ada:
        for each in ids:
            led = await ada.http.get("/t/casino/search", params={"q": f" {each} "}, follow_redirects=True)
            assert led.status_code == 200, each
            assert each in led.text
        lost = await ada.http.get("/t/casino/search", params={"q": "wd_1_2"}, follow_redirects=True)
        none = await ada.http.get("/t/casino/search", params={"q": "ş/<b>"}, follow_redirects=True)
    assert lost.status_code in {400, 404}
    assert "con-" in lost.text
    assert none.status_code == 404
    assert "<b>" not in none.text


async def test_finding_goes_its_way(house: House) -> None:
    """Both sides and the difference are shown; looked after, resolved, opened again, with its history."""
    finding = await house.desk.raised()
    page = f"/t/casino/findings/{finding.finding_id}"
    async with await house.signed_in() as ada, await house.signed_in("grace") as grace:
        shown = (await ada.get(page)).text
        listed = (await ada.get("/t/casino/findings")).text
        stale = form_of((await grace.get(page)).text, "/resolve")
        await ada.post(
            f"{page}/acknowledge", {**form_of(shown, "/acknowledge"), "note": "I look", "assignee": ""}
        )
        late = await grace.post(f"{page}/resolve", {**stale, "reason": "6", "note": ""})
        missing = await grace.post(
            f"{page}/resolve", {**form_of(late.text, "/resolve"), "reason": "", "note": "n"}
        )
        form = form_of(late.text, "/resolve")
        done, again = [
            await grace.post(f"{page}/resolve", {**form, "reason": "6", "note": "agreed"}) for _ in range(2)
        ]
        reopening = form_of((await ada.get(page)).text, "/reopen")
        await ada.post(f"{page}/reopen", {**reopening, "note": "not agreed"})
        ended = (await ada.get(page)).text
    assert "amounts differ" in shown or "differs" in shown
    assert finding.finding_id in listed
    assert late.status_code == 409
    assert "Somebody has changed the finding" in late.text
    assert missing.status_code == 422
    assert (done.status_code, again.status_code) == (303, 303)
    found = await house.desk.read(finding.finding_id)
    assert [(each.finding.actor, each.finding.note) for each in found.history][1:] == [
        ("ada", "I look"),
        ("grace", "agreed"),
        ("ada", "not agreed"),
    ]
    assert all(text in ended for text in ("I look", "agreed", "not agreed"))


async def test_finding_that_cannot_be_repaired_says_so(house: House) -> None:
    """Nothing was booked."""
    finding = await house.desk.raised()
    page = f"/t/casino/findings/{finding.finding_id}"
    async with await house.signed_in() as ada:
        form = form_of((await ada.get(page)).text, "/acknowledge")
        refused = await ada.post(f"{page}/repair", form)
    assert refused.status_code == 409
    assert "Nothing can be booked" in refused.text


async def test_live_page_hears_of_each_change_and_goes_on_behind_the_last(house: House) -> None:
    """A signal has the topic, ids and the sequence; who comes again with it misses nothing."""
    await house.funded()
    async with await house.signed_in() as ada:
        sequence = await house.ledger.head()
        first = await house.cashier.request(100)
        async with asyncio.timeout(HANG_SECONDS):
            heard = await signal(ada, sequence)
            assert (heard["event"], first.withdrawal_id in heard["data"]) == ("withdrawals", True)
            second = await house.cashier.request(100)
            later = await signal(ada, 0, last=heard["id"])
    assert second.withdrawal_id in later["data"]
    assert first.withdrawal_id not in later["data"]


async def signal(browser: Browser, after: int, *, last: str = "") -> dict[str, str]:
    """Return the first signal of a stream."""
    headers = {"Last-Event-ID": last} if last else {}
    address = f"/t/casino/signals?after={after}"
    async with browser.http.stream("GET", address, headers=headers) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        found: dict[str, str] = {}
        async for line in stream.aiter_lines():
            name, _, value = line.partition(": ")
            if name in {"event", "id", "data"}:
                found[name] = value
            if not line and "data" in found:
                return found
    raise AssertionError("the stream ended")
