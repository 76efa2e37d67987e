"""Own what the pages of a player do over a real, guarded ledger: statements that add up, and freezing."""

from __future__ import annotations

import asyncio
import csv
import io
import re

from defter.ledger.v1 import account_pb2

from tests.console.house import House, form_of
from tests.support.requests import BET, CREDIT, DEBIT, leg, transaction

PAGE = "/t/casino/players/ann"
WALLET = "player:ann:real:EUR"
FROZEN, OPEN = account_pb2.ACCOUNT_STATE_FROZEN, account_pb2.ACCOUNT_STATE_OPEN


async def staked(house: House, amount_minor: int) -> None:
    """Have the player stake money."""
    legs = leg(WALLET, DEBIT, amount_minor), leg("house", CREDIT, amount_minor)
    await house.ledger.submit(transaction(*legs, type_=BET))


async def state_of(house: House, account_id: str) -> int:
    """Return the state of an account."""
    return (await house.ledger.account(account_id)).account.state


def cells(page: str) -> list[list[str]]:
    """Return the text of each row of the tables of a page."""
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", page, re.DOTALL)
    found = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return [[" ".join(re.sub(r"<[^>]*>", " ", cell).split()) for cell in row] for row in found]


async def test_statement_tells_what_happened_and_the_balance_behind_each_line(house: House) -> None:
    """Deposit, stake, and a withdrawal that is held and rejected; the file has the same lines."""
    await house.funded(10_000)
    await staked(house, 2_500)
    withdrawal = await house.cashier.request(500)
    await house.cashier.reject(withdrawal.withdrawal_id, reason="no")
    async with await house.signed_in("rob") as rob:
        player = (await rob.get(PAGE)).text
        newest = (await rob.get(f"{PAGE}/statement")).text
        posted = (await rob.get(f"{PAGE}/statement?lines=posted&order=oldest")).text
        file = (await rob.get(f"{PAGE}/statement.csv?order=oldest")).text
        other = await rob.get(f"{PAGE}/statement?account=house")
        crossed = await rob.get(f"{PAGE}/statement?from=2020-02-01T00:00&to=2020-01-01T00:00")
    for page in (player, newest):
        table = page.partition('class="timeline"')[2].partition("</table>")[0]
        told = [[row[1].partition(" happened")[0], *row[2:4]] for row in cells(table)[1:]]
        assert told == [
            ["Hold released", "", "75.00"],
            ["Hold placed", "", "75.00"],
            ["Stake", "\N{MINUS SIGN}25.00", "75.00"],
            ["Deposit", "+100.00", "100.00"],
            ["Money is on its way in", "", "0.00"],
        ], page
    assert f'/search?q={withdrawal.withdrawal_id}"' in newest
    assert posted.index("Deposit</a>") < posted.index("Stake</a>")
    assert "Hold placed" not in posted
    rows = list(csv.DictReader(io.StringIO(file.removeprefix("\N{BYTE ORDER MARK}"))))
    assert [
        (row["change"], row["pending_change"], row["posted_balance"], row["available_balance"])
        for row in rows
    ] == [
        ("0.00", "100.00", "0.00", "0.00"),
        ("100.00", "-100.00", "100.00", "100.00"),
        ("-25.00", "0.00", "75.00", "75.00"),
        ("0.00", "5.00", "75.00", "70.00"),
        ("0.00", "-5.00", "75.00", "75.00"),
    ]
    assert other.status_code == 404
    assert crossed.status_code == 422


async def test_printed_statement_adds_up_and_says_who_printed_it(house: House) -> None:
    """Windows that follow one another hand the balance over; the whole begins with nothing."""
    await house.funded(10_000)
    await staked(house, 2_500)
    async with await house.signed_in("rob") as rob:
        whole = await rob.get(f"{PAGE}/statement/print")
        file = (await rob.get(f"{PAGE}/statement.csv?order=oldest")).text
        rows = list(csv.DictReader(io.StringIO(file.removeprefix("\N{BYTE ORDER MARK}"))))
        between = rows[2]["record_time"]
        before = await rob.get(f"{PAGE}/statement/print?to={between.replace('+', '%2B')}")
        behind = await rob.get(f"{PAGE}/statement/print?from={between.replace('+', '%2B')}")
        nobody = await rob.get("/t/casino/players/zoe/statement/print")
    found = [
        [row[-1] for row in cells(page.text) if {"Opening balance", "Closing balance"} & set(row)]
        for page in (whole, before, behind)
    ]
    assert [page.status_code for page in (whole, before, behind)] == [200, 200, 200]
    assert found == [["0.00", "75.00"], ["0.00", "100.00"], ["100.00", "75.00"]]
    assert "Printed by" in whole.text
    assert "rob" in whole.text
    assert nobody.status_code == 404


async def test_freezing_wants_a_reason_and_counts_once(house: House) -> None:
    """All of a player at once; the form again does nothing, and what is frozen already is no fault."""
    await house.funded()
    await house.ledger.open("player:ann:bonus:EUR")
    await house.ledger.freeze("player:ann:bonus:EUR")
    async with await house.signed_in() as ada:
        shown = (await ada.get(PAGE)).text
        form = form_of(shown, "/freeze")
        without = await ada.post(f"{PAGE}/freeze", {**form, "account": "all", "note": " "})
        wrong = await ada.post(f"{PAGE}/freeze", {**form, "account": "house", "note": "x"})
        wanted = {**form, "account": "all", "note": "stolen card"}
        both = await asyncio.gather(*(ada.post(f"{PAGE}/freeze", wanted) for _ in range(2)))
        head = await house.ledger.head()
        again = await ada.post(f"{PAGE}/freeze", wanted)
        frozen = (await ada.get(PAGE)).text
        assert await house.ledger.head() == head
        form = form_of(frozen, "/unfreeze")
        await ada.post(f"{PAGE}/unfreeze", {**form, "account": WALLET, "note": "card was found"})
        after = (await ada.get(PAGE)).text
    assert (without.status_code, wrong.status_code) == (422, 422)
    assert [each.status_code for each in (*both, again)] == [303] * 3
    assert "nothing lowers these accounts" in frozen
    assert "nothing was done twice" in frozen
    assert "It is unfrozen" in after
    assert await state_of(house, "house") == OPEN
    assert await state_of(house, WALLET) == OPEN
    assert await state_of(house, "player:ann:bonus:EUR") == FROZEN


async def test_who_may_not_freeze_sees_no_form_and_is_refused_by_the_ledger(house: House) -> None:
    """The forged form has a key of somebody else's page."""
    await house.funded()
    async with await house.signed_in("rob") as rob, await house.signed_in() as ada:
        shown = (await rob.get(PAGE)).text
        forged = {
            "csrf": form_of(shown, "/sign-out")["csrf"],
            "key": form_of((await ada.get(PAGE)).text, "/freeze")["key"],
            "account": WALLET,
            "note": "x",
        }
        head = await house.ledger.head()
        refused = await rob.post(f"{PAGE}/freeze", forged)
        unknown = await rob.get("/t/casino/players/zoe")
    assert "/freeze" not in shown
    assert refused.status_code == 403
    assert "PERMISSION_MISSING" in refused.text
    assert await house.ledger.head() == head
    assert await state_of(house, WALLET) == OPEN
    assert unknown.status_code == 404
    assert "no such player" in unknown.text
