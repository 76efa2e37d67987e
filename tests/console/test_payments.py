"""Own the pages of deposits, refunds and providers' events over a real, guarded ledger."""

from __future__ import annotations

import asyncio
import csv
import io
from html import unescape
from pathlib import Path
from typing import Any, NoReturn, cast

import grpc
from defter.payments.v1 import payment_pb2 as pb

from console.forms import form_key
from console.ledger import Gateway
from defter_client import LedgerClient, RetryLater
from defter_client import messages as m
from tests.console.hostile import ORIGIN, SayingLedger, saying_console, visiting
from tests.console.house import Browser, House, form_of

LIST = "/t/casino/deposits"
EVENTS = "/t/casino/events"


async def confirming(browser: Browser, page: str, amount: str) -> dict[str, str]:
    """Type an amount and return the form that asks whether it is right."""
    shown = await browser.http.get(f"{page}/refund", params={"amount": amount})
    assert shown.status_code == 200, shown.text
    return form_of(shown.text, "/refund")


async def test_refund_is_typed_seen_and_asked_for_once(house: House) -> None:
    """A part, then the rest; the forms sent again are answered again, and nothing more is left."""
    deposit = await house.cashier.captured(50_000)
    page = f"{LIST}/{deposit.deposit_id}"
    async with await house.signed_in() as ada:
        assert f"{page}/refund" in (await ada.get(page)).text
        form = await confirming(ada, page, "123.45")
        both = await asyncio.gather(*(ada.post(f"{page}/refund", form) for _ in range(2)))
        again = await ada.post(f"{page}/refund", form)
        after = (await ada.get(page)).text
        rest = await confirming(ada, page, "376.55")
        await ada.post(f"{page}/refund", rest)
        ended = (await ada.get(f"{page}/refund")).text
    assert [each.status_code for each in (*both, again)] == [303] * 3
    assert "The refund is asked for" in after
    assert "nothing was done twice" in after
    assert "376.55" in after
    assert [each.amount_minor for each in (await house.cashier.deposit(deposit.deposit_id)).refunds] == [
        12_345,
        37_655,
    ]
    assert "Nothing is left to refund." in ended


async def test_amount_of_a_refund_is_read_in_the_persons_language_or_refused(house: House) -> None:
    """What could be read in two ways is none, and what was typed stays."""
    deposit = await house.cashier.captured(500_000)
    page = f"{LIST}/{deposit.deposit_id}"
    async with await house.signed_in() as ada:
        ada.http.cookies.set("defter-language", "tr", domain="127.0.0.1")
        refused = await ada.http.get(f"{page}/refund", params={"amount": "1.234"})
        read = await ada.http.get(f"{page}/refund", params={"amount": "1.234,50"})
        ada.http.cookies.set("defter-language", "en", domain="127.0.0.1")
        other = await ada.http.get(f"{page}/refund", params={"amount": "1.234,50"})
        much = await ada.http.get(f"{page}/refund", params={"amount": "5000.01"})
    assert refused.status_code == 422
    assert "Bu iki türlü okunabilir." in refused.text
    assert 'value="1.234"' in refused.text
    assert form_of(read.text, "/refund")["amount_minor"] == "123450"
    assert (other.status_code, much.status_code) == (422, 422)
    assert "more than is left to refund" in much.text
    assert not (await house.cashier.deposit(deposit.deposit_id)).refunds


async def test_two_people_do_not_refund_the_same_twice(house: House) -> None:
    """Each has seen the whole deposit; the slower one is told, and decides anew."""
    deposit = await house.cashier.captured(50_000)
    page = f"{LIST}/{deposit.deposit_id}"
    async with await house.signed_in() as ada, await house.signed_in("grace") as grace:
        first, second = await confirming(ada, page, "100"), await confirming(grace, page, "100")
        await ada.post(f"{page}/refund", first)
        late = await grace.post(f"{page}/refund", second)
    assert late.status_code == 409
    assert "nothing was refunded" in late.text
    assert len((await house.cashier.deposit(deposit.deposit_id)).refunds) == 1


async def test_refund_that_the_ledger_refuses_is_told_in_words(house: House) -> None:
    """The player has spent the money meanwhile."""
    deposit = await house.cashier.captured(50_000)
    await house.cashier.request(40_000)
    page = f"{LIST}/{deposit.deposit_id}"
    async with await house.signed_in() as ada:
        refused = await ada.post(f"{page}/refund", await confirming(ada, page, "500"))
    assert refused.status_code == 409
    assert "INSUFFICIENT_FUNDS" in refused.text
    assert "The player has less than this available" in refused.text
    assert not (await house.cashier.deposit(deposit.deposit_id)).refunds


async def test_who_may_not_refund_or_replay_sees_no_button_and_a_forged_form_is_refused(house: House) -> None:
    """The ledger decides it."""
    deposit = await house.cashier.captured(50_000)
    [event] = await house.cashier.stored_events()
    page, told = f"{LIST}/{deposit.deposit_id}", f"{EVENTS}/{event.provider_event_id}"
    head = await house.ledger.head()
    async with await house.signed_in("rob") as rob, await house.signed_in() as ada:
        shown = (await rob.get(page)).text
        typed = (await rob.http.get(f"{page}/refund", params={"amount": "1"})).text
        seen = (await rob.get(told)).text
        form = await confirming(ada, page, "1")
        replaying = form_of((await ada.get(told)).text, "/replay")
        csrf = form_of(shown, "/sign-out")["csrf"]
        refunded = await rob.post(f"{page}/refund", {**form, "csrf": csrf})
        replayed = await rob.post(f"{told}/replay", {**replaying, "csrf": csrf})
        forged = await ada.post(f"{page}/refund", {**form, "amount_minor": "-1"})
    assert "/refund" not in shown
    assert "The ledger does not let you refund" in typed
    assert f'action="{told}/replay"' not in seen
    assert (refunded.status_code, replayed.status_code, forged.status_code) == (403, 403, 400)
    assert await house.ledger.head() == head


async def test_page_of_a_deposit_has_all_that_is_known_of_it(house: House) -> None:
    """Its money, what happened in order, its events, its transactions and its findings."""
    cashier = house.cashier
    deposit = await cashier.captured(50_000, reference="order-7")
    ingested = await cashier.ingest(
        cashier.event(
            pb.PROVIDER_EVENT_TYPE_DISPUTE_FUNDS_WITHDRAWN, deposit.deposit_id, 700, object_ref="dispute-1"
        ),
        cashier.event(pb.PROVIDER_EVENT_TYPE_FEE_CHARGED, deposit.deposit_id, 30, object_ref="fee-1"),
        cashier.event(pb.PROVIDER_EVENT_TYPE_PAYMENT_CAPTURED, deposit.deposit_id, 1, currency_code="USD"),
    )
    async with await house.signed_in() as ada:
        page = unescape((await ada.get(f"{LIST}/{deposit.deposit_id}")).text)
        led = await ada.http.get(f"/t/casino/records/{deposit.deposit_id}", follow_redirects=True)
    for text in ("order-7", "493.00", "dispute took money", "fee kept by the provider", "dispute-1", "fee-1"):
        assert text in page, text
    for each in ingested:
        assert f"{EVENTS}/{each.event.provider_event_id}" in page
    assert page.index("asked for") < page.index("taken by the provider")
    assert "psp:mock:clearing:EUR" in page
    assert "/findings/fnd_" in page
    assert str(led.url).endswith(f"{LIST}/{deposit.deposit_id}")


async def test_deposits_are_filtered_by_their_address_and_taken_as_a_file(house: House) -> None:
    """By player, states, the provider's id, reference and amount, in both orders."""
    cashier = house.cashier
    taken = await cashier.captured(50_000, metadata={"note": "=1+1"}, reference="=2+2")
    begun = await cashier.initiate(700, player_id="bob")
    async with await house.signed_in() as ada:

        async def ids(query: str) -> set[str]:
            text = (await ada.get(f"{LIST}.csv?{query}")).text.removeprefix("\N{BYTE ORDER MARK}")
            return {row["deposit_id"] for row in csv.DictReader(io.StringIO(text))}

        page = (await ada.get(f"{LIST}?player=bob")).text
        everything = (await ada.get(f"{LIST}.csv")).text
        found = [
            await ids(query)
            for query in (
                "player=bob",
                "state=3",
                "state=open",
                "state=returned",
                f"ref={begun.provider_ref}",
                "reference==2%2B2",
                "currency=eur&least=7.01",
                "currency=EUR&least=7&most=7.00",
                "player=nobody",
            )
        ]
        wrong = [await ada.get(f"{LIST}.csv?{query}") for query in ("from=x", "least=1", "least=1,00")]
        crossed = await ada.get(f"{LIST}?currency=EUR&least=2&most=1")
        orders = [(await ada.get(f"{LIST}?order={order}")).text for order in ("", "oldest")]
    assert begun.deposit_id in page
    assert taken.deposit_id not in page
    ours, theirs = {taken.deposit_id}, {begun.deposit_id}
    assert found == [theirs, ours, theirs, set(), theirs, ours, ours, theirs, set()]
    assert ",500.00,500.00,0.00," in everything
    assert ",'=2+2," in everything
    assert [each.status_code for each in wrong] == [400, 400, 400]
    assert crossed.status_code == 422
    assert "This is less than the least." in crossed.text
    assert [page.index(taken.deposit_id) < page.index(begun.deposit_id) for page in orders] == [False, True]


async def test_event_shows_its_body_and_is_applied_again(house: House) -> None:
    """A parked one that was told too early has its effect once its payment is known."""
    cashier = house.cashier
    body = b'{"id":"evt","note":"<script>alert(1)</script>","amount":10.50}'
    [parked] = await cashier.ingest(
        cashier.event(pb.PROVIDER_EVENT_TYPE_PAYMENT_CAPTURED, "", 500, payment_ref="early", payload=body)
    )
    page = f"{EVENTS}/{parked.event.provider_event_id}"
    async with await house.signed_in() as ada:
        before = (await ada.get(page)).text
        listed = (await ada.get(f"{EVENTS}?state={pb.PROVIDER_EVENT_STATE_PARKED}")).text
        form = form_of(before, "/replay")
        await cashier.initiate(500, provider_ref="early")
        done, again = [await ada.post(f"{page}/replay", form) for _ in range(2)]
        after = (await ada.get(page)).text
    assert '"amount": 10.50' in unescape(before)
    assert "<script>alert" not in before
    assert "parked" in before
    assert page in listed
    assert (done.status_code, again.status_code) == (303, 303)
    assert "has had its effect" in after
    assert "nothing was done twice" in after
    assert (
        await cashier.stored_event(parked.event.provider_event_id)
    ).state == pb.PROVIDER_EVENT_STATE_APPLIED


async def test_unread_event_is_said_to_have_become_another_one(house: House) -> None:
    """Itself it can't have become."""
    cashier = house.cashier
    [stored] = await cashier.ingest(
        cashier.event(
            pb.PROVIDER_EVENT_TYPE_UNSPECIFIED,
            currency_code="",
            provider_type="payment.odd",
            unread_reason=pb.UNREAD_REASON_TYPE,
            moves_money=True,
            payload=b"\xff",
        )
    )
    read = await cashier.captured(500)
    [other] = await cashier.stored_events(payment_id=read.deposit_id)
    page = f"{EVENTS}/{stored.event.provider_event_id}"
    async with await house.signed_in() as ada:
        form = form_of((await ada.get(page)).text, "/supersede")
        refused = await ada.post(f"{page}/supersede", {**form, "became": stored.event.provider_event_id})
        form = form_of(refused.text, "/supersede")
        await ada.post(f"{page}/supersede", {**form, "became": other.provider_event_id})
        after = (await ada.get(page)).text
    assert refused.status_code == 409
    assert "EVENT_CANNOT_SUPERSEDE" in refused.text
    assert "replaced by another event" in after
    assert f"{EVENTS}/{other.provider_event_id}" in after


async def test_body_of_an_event_is_cut_and_can_be_opened(house: House) -> None:
    """The rest is one click away."""
    cashier = house.cashier
    body = b'{"lines":[' + b",".join(b"%d" % number for number in range(2_000)) + b"]}"
    [event] = await cashier.ingest(
        cashier.event(pb.PROVIDER_EVENT_TYPE_PAYMENT_CAPTURED, "", 5, payment_ref="x", payload=body)
    )
    page = f"{EVENTS}/{event.event.provider_event_id}"
    async with await house.signed_in() as ada:
        cut, whole = (await ada.get(page)).text, (await ada.get(f"{page}?payload=all")).text
    assert " 1999" not in cut
    assert " 1999" in whole
    assert "payload=all" in cut


class UnsureLedger(SayingLedger):
    """Nobody knows whether it has refunded anything, and it notes by which keys it was asked."""

    def __init__(self) -> None:
        super().__init__("x")
        self.keys: list[str] = []

    @property
    def deposits(self) -> Any:
        """Deposits that are read as ever."""
        found = super().__getattr__("deposits")
        found.refund_deposit = self.refund_deposit
        return found

    async def refund_deposit(self, request: m.RefundDepositRequest, **_: object) -> NoReturn:
        """Give no answer."""
        self.keys.append(request.idempotency_key)
        raise RetryLater(
            code=grpc.StatusCode.UNAVAILABLE,
            reason="",
            message="",
            metadata={},
            replayed=False,
            outcome_unknown=True,
        )


async def test_refund_of_which_nothing_is_known_is_asked_for_again_by_the_same_key(tmp_path: Path) -> None:
    """The page says so and has the same form; no other one is offered, which might refund twice."""
    console, ledger = saying_console("x", tmp_path), UnsureLedger()
    console.gateway = Gateway(cast(LedgerClient, ledger), cast(grpc.aio.Channel, None), None)
    page = "/t/x/deposits/dep_1/refund"
    async with visiting(console, origin=ORIGIN) as browser:
        csrf = form_of((await browser.get("/t/x/deposits/dep_1")).text, "/sign-out")["csrf"]
        form = {"csrf": csrf, "key": form_key(), "amount_minor": "100", "seen": "another"}
        for _ in range(2):
            told = await browser.post(page, data=form)
            assert told.status_code == 503
            assert "It is not known whether this has taken effect." in told.text
            again = form_of(told.text, "/refund")
            assert {name: again[name] for name in form} == form
    assert ledger.keys == [form["key"]] * 2
