"""Own the pages of the border and of the search, over a real, guarded ledger."""

from __future__ import annotations

import csv
import io
from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest
from defter.payments.v1 import payment_pb2 as pb

from console import owed_calls
from console.looking_up import METHODS, PLAYERS_METHODS
from ledger_server.domain.state.commands import Method
from tests.console.house import House, form_of
from tests.support.cashier import CAPTURED
from tests.support.fake_provider import PROVIDER, SILENT_PROVIDER

PROVIDERS, CALLS = "/t/casino/providers", "/t/casino/calls"


async def test_calls_of_each_kind_are_owed_until_the_provider_has_taken_them_on(house: House) -> None:
    """A deposit, a payout and a refund at a provider that never answers; the other provider owes none."""
    cashier = house.cashier
    await house.funded()
    begun = await cashier.initiate(700, provider=SILENT_PROVIDER, provider_ref="")
    taken = await cashier.initiate(5_000, provider=SILENT_PROVIDER, provider_ref="pay-silent")
    await cashier.ingest(cashier.event(CAPTURED, taken.deposit_id, 5_000, provider=SILENT_PROVIDER))
    await cashier.refund(taken.deposit_id, 200)
    withdrawal = await cashier.request(300, provider=SILENT_PROVIDER)
    await cashier.approve(withdrawal.withdrawal_id)
    heard = await cashier.request(400)
    await cashier.approve(heard.withdrawal_id)
    await cashier.until_begun(withdrawal.withdrawal_id)
    async with await house.signed_in() as ada:
        text = (await ada.get(f"{CALLS}.csv")).text.removeprefix("\N{BYTE ORDER MARK}")
        page = (await ada.get(f"{CALLS}?provider={SILENT_PROVIDER}")).text
        other = (await ada.get(f"{CALLS}?provider=nobody")).text
    rows = [row for row in csv.DictReader(io.StringIO(text)) if row["provider"] == SILENT_PROVIDER]
    assert [(row["payment_id"], row["call"], row["amount"]) for row in rows] == [
        (begun.deposit_id, "make a payment", "7.00"),
        (taken.deposit_id, "make a refund", "2.00"),
        (withdrawal.withdrawal_id, "make a payout", "3.00"),
    ]
    for each in (begun.deposit_id, taken.deposit_id, withdrawal.withdrawal_id):
        assert each in page
    assert "No call waits" in other


async def test_calls_beyond_the_bound_are_told_not_to_be_all(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the oldest payments are looked at, and the page says so."""
    monkeypatch.setattr(owed_calls, "MOST_LOOKED_AT", 1)
    deposits = [
        await house.cashier.initiate(700, provider=SILENT_PROVIDER, provider_ref="") for _ in range(2)
    ]
    async with await house.signed_in() as ada:
        page = (await ada.get(CALLS)).text
    assert "There may be more" in page
    assert [each.deposit_id in page for each in deposits] == [True, False]


async def test_page_of_the_providers_says_plainly_what_is_amiss(house: House) -> None:
    """One that has an event nobody could read, and one that owes nothing."""
    cashier = house.cashier
    await cashier.captured(500)
    await cashier.initiate(700, provider=SILENT_PROVIDER, provider_ref="")
    await cashier.ingest(
        cashier.event(pb.PROVIDER_EVENT_TYPE_PAYMENT_CAPTURED, "", 5, payment_ref="unheard"),
        cashier.event(
            pb.PROVIDER_EVENT_TYPE_UNSPECIFIED,
            currency_code="",
            unread_reason=pb.UNREAD_REASON_TYPE,
            moves_money=True,
        ),
    )
    async with await house.signed_in() as ada, await house.signed_in("nobody") as nobody:
        page = unescape((await ada.get(PROVIDERS)).text)
        refused = await nobody.get(PROVIDERS)
    loud, silent = page.partition(SILENT_PROVIDER)[0], page.partition(SILENT_PROVIDER)[2]
    assert f"provider={PROVIDER}" in loud
    assert "Events could not be read" in loud
    assert "Severe findings are open." in loud
    assert "It was never reconciled." in silent
    assert "nothing for a day" in silent
    assert "you may not see it" in page
    assert refused.status_code == 403


async def test_calls_are_stopped_and_go_on_by_those_on_duty_alone(house: House) -> None:
    """It concerns all tenants, so who may is asked of the ledger; a note is wanted."""
    await house.cashier.captured(500)
    async with await house.signed_in("dora") as dora, await house.signed_in() as ada:
        shown = (await dora.get(PROVIDERS)).text
        form = form_of(shown, "/stop")
        forged = await ada.post(
            f"{PROVIDERS}/stop",
            {"csrf": form_of((await ada.get(PROVIDERS)).text, "/sign-out")["csrf"], "note": "x"},
        )
        missing = await dora.post(f"{PROVIDERS}/stop", {**form, "note": " "})
        await dora.post(f"{PROVIDERS}/stop", {**form, "note": "the provider pays twice"})
        stopped = unescape((await dora.get(PROVIDERS)).text)
        await dora.post(f"{PROVIDERS}/resume", {**form_of(stopped, "/resume"), "note": "it was mended"})
        after = unescape((await dora.get(PROVIDERS)).text)
    assert "Calls are made." in shown
    assert (forged.status_code, missing.status_code) == (403, 400)
    assert "All calls are stopped" in stopped
    assert "the provider pays twice" in stopped
    assert "Calls are made." in after
    assert "it was mended" in after


async def test_search_finds_what_has_no_id_of_ours(house: House) -> None:
    """A provider's id, a reference, the key of a request, and the key of a player's request."""
    cashier = house.cashier
    deposit = await cashier.captured(5_000, provider_ref="ref/17 x", key="a player's key")
    await cashier.refund(deposit.deposit_id, 100, key="refund:17")
    await cashier.initiate(100, player_id="refund", provider_ref="refund")
    async with await house.signed_in() as ada:

        async def led(**query: str) -> str:
            answer = await ada.http.get("/t/casino/search", params=query)
            assert answer.status_code == 303, answer.text
            return answer.headers["location"]

        assert await led(q="ref/17 x") == f"/t/casino/deposits/{deposit.deposit_id}"
        by_key = await led(q="refund:17")
        by_players = await led(q="a player's key", player="ann")
        outcome, begun = [unescape((await ada.get(path)).text) for path in (by_key, by_players)]
        # A transaction's reference is the payment that it was made for, so it is an id that leads there.
        several = await ada.http.get("/t/casino/search", params={"q": "refund"})
        lost = await ada.http.get("/t/casino/search", params={"q": "nothing at all"})
        unknown = await ada.get("/t/casino/outcomes?method=RefundDeposit&key=nothing")
    assert parse_qs(urlsplit(by_key).query) == {"method": ["RefundDeposit"], "key": ["refund:17"]}
    assert "RefundDeposit" in outcome
    assert deposit.deposit_id in outcome
    assert "InitiateDeposit" in begun
    assert several.status_code == 200
    assert "/t/casino/players/refund" in several.text
    assert "the provider's id of it" in unescape(several.text)
    assert lost.status_code == 404
    assert "It was looked for as a player" in lost.text
    assert unknown.status_code == 404


async def test_request_that_was_refused_is_found_by_its_key_with_the_reason(house: House) -> None:
    """A refusal is an outcome too."""
    deposit = await house.cashier.captured(500)
    async with await house.signed_in() as ada:
        page = f"/t/casino/deposits/{deposit.deposit_id}/refund"
        form = form_of((await ada.http.get(page, params={"amount": "5"})).text, "/refund")
        await house.cashier.request(400)
        await ada.post(page, form)
        led = await ada.http.get("/t/casino/search", params={"q": form["key"]}, follow_redirects=True)
    assert led.status_code == 200
    assert "INSUFFICIENT_FUNDS" in led.text
    assert "token:ada" in led.text


def test_key_of_every_method_is_looked_for() -> None:
    """Who adds a keyed method to the ledger is told here; two have no key of one request."""
    journal = {method.name for method in Method} - {"IngestProviderEvents", "ImportOpeningBalances"}
    assert {*METHODS, *PLAYERS_METHODS} == journal
