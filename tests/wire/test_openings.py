"""Own opening balances on the wire: what is posted, what is refused, and that nothing is posted twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from defter.backfill.v1 import backfill_pb2 as pb
from defter.ledger.v1 import account_pb2, posting_pb2

from ledger_server.engine.reads.openings import KnownOpenings, OpeningReads
from ledger_server.rpc import opening_import
from tests.support.clock import START
from tests.support.coherence import assert_ledger_coherent
from tests.support.ledger import SHADOW, Ledger
from tests.support.openings import IMPORT, Header, Imported, Message, Opener, line, messages, sums_of
from tests.support.patience import HANG_SECONDS
from tests.support.requests import timestamp
from tests.support.service import Service
from tests.support.wire import refusal

INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT
LINES = [line(2, "ada", 1_000, 50), line(3, "bob", 7), line(4, "cy", 0, 3), line(5, "dee")]
EQUITY = "equity:opening:EUR"


@pytest.fixture
def opener(ledger: Ledger) -> Opener:
    """The imports of the tenant."""
    return Opener(ledger)


async def money(ledger: Ledger, prefix: str = "player:") -> dict[str, int]:
    """Return what each account has, in minor units."""
    return {
        each.account.account_id: each.balance.posted_balance_minor
        for each in await ledger.accounts()
        if each.account.account_id.startswith(prefix)
    }


WALLETS = {
    "player:ada:bonus:EUR": 50,
    "player:ada:real:EUR": 1_000,
    "player:bob:real:EUR": 7,
    "player:cy:bonus:EUR": 3,
    "player:cy:real:EUR": 0,
    "player:dee:real:EUR": 0,
}


async def opening(ledger: Ledger, player_id: str, number: int = 0) -> posting_pb2.Transaction:
    """Return a transaction of a player's opening balance."""
    entry = await ledger.outcome("ImportOpeningBalances", f"EUR:{number}", player_id=player_id)
    return entry.record.transaction_posted


async def test_import_posts_real_and_bonus_money_of_each_player(opener: Opener) -> None:
    """By one transaction for a player and currency, against the account of openings."""
    header = opener.header(LINES)
    header.as_of_time.CopyFrom(timestamp(START))
    sent = messages(LINES)
    done = await opener.send([Message(header=header), *sent], sent)

    assert done.plan is not None
    assert done.result is not None
    [planned], [posted] = done.plan.currencies, done.result.currencies
    assert planned == posted
    assert (posted.post_count, posted.post_minor, posted.present_count) == (3, 1_060, 1)
    assert posted.open_account_count == len(WALLETS)
    assert await money(opener.ledger) == WALLETS
    assert await opener.ledger.posted(EQUITY) == -1_060
    transaction = await opening(opener.ledger, "ada")
    assert transaction.reference == IMPORT
    assert transaction.metadata == {"line": "2"}
    assert transaction.effective_time == timestamp(START)
    assert transaction.type == account_pb2.TRANSACTION_TYPE_OPENING_BALANCE
    assert [each.account_id for each in transaction.postings] == [
        "player:ada:real:EUR",
        "player:ada:bonus:EUR",
        EQUITY,
    ]
    await assert_ledger_coherent(opener.ledger)


async def test_import_again_posts_nothing(opener: Opener) -> None:
    """In any order and in other messages, by the same import."""
    await opener.run(LINES)
    head = await opener.ledger.head()

    again = await opener.run(LINES[::-1], size=1)

    assert again.result is not None
    assert [each.present_count for each in again.result.currencies] == [4]
    assert await opener.ledger.head() == head


async def test_import_at_once_several_times_posts_once(opener: Opener) -> None:
    """Each of them either waits for the other or finds what it has posted."""
    lines = [line(number, real=number) for number in range(1, 400)]

    done = await asyncio.gather(*(opener.run(lines) for _ in range(4)))

    assert sum(each.result.currencies[0].post_count for each in done if each.result) == len(lines)
    assert await opener.ledger.posted(EQUITY) == -sum(range(1, 400))
    await assert_ledger_coherent(opener.ledger)


async def test_dry_run_says_what_would_happen_and_changes_nothing(opener: Opener) -> None:
    """The same plan as the import's own."""
    head = await opener.ledger.head()
    dry = await opener.run(LINES, dry_run=True)
    assert await opener.ledger.head() == head
    done = await opener.run(LINES)

    assert dry.result is None
    assert dry.plan is not None
    assert done.plan is not None
    assert dry.plan.currencies == done.plan.currencies
    assert (dry.plan.wants_lines, done.plan.wants_lines) == (False, True)


@pytest.mark.parametrize(
    ("lines", "refused"),
    [
        (
            [line(2, "ada", 1), line(3, "ada", 2)],
            {2: "OPENING_BALANCE_REPEATED", 3: "OPENING_BALANCE_REPEATED"},
        ),
        ([line(2, "ada", 1), line(3, "bob", -2)], {3: "OPENING_BALANCE_NEGATIVE"}),
        ([line(2, "ada", 1), line(3, "bob", 2, currency="XXX")], {3: "CURRENCY_UNKNOWN"}),
        ([line(2, "ada", 1), line(3, "b:b", 2)], {3: "FIELD_MALFORMED"}),
        ([line(2, "ada", 1), line(0, "bob", 2)], {0: "FIELD_OUT_OF_RANGE"}),
    ],
    ids=["repeated", "negative", "currency", "player", "number"],
)
async def test_one_line_that_is_wrong_stops_all(
    opener: Opener, lines: list[pb.OpeningBalance], refused: dict[int, str]
) -> None:
    """It is told with its number and its reason, and nothing is posted, not even an account opened."""
    head = await opener.ledger.head()
    imported = Imported()
    told = await refusal(opener.run(lines, sums=sums_of(LINES), imported=imported, size=1))

    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "IMPORT_LINES_REFUSED")
    assert told.metadata == {"refused_count": str(len(refused))}
    assert imported.refused == refused
    assert imported.plan is not None
    assert not imported.plan.wants_lines
    assert await opener.ledger.head() == head


@pytest.mark.parametrize(
    ("sums", "facts"),
    [
        ({"EUR": 1_061}, {"currency_code": "EUR", "total_minor": "1060", "control_minor": "1061"}),
        ({"USD": 5}, {"currency_code": "EUR", "total_minor": "1060", "control_minor": ""}),
        ({"EUR": 1_060, "USD": 5}, {"currency_code": "USD", "total_minor": "0", "control_minor": "5"}),
    ],
    ids=["wrong", "missing", "of no line"],
)
async def test_control_sum_that_does_not_agree_stops_all(
    opener: Opener, sums: dict[str, int], facts: dict[str, str]
) -> None:
    """Before the first line is posted, in a dry run and in earnest."""
    head = await opener.ledger.head()
    controls = [pb.ControlSum(currency_code=code, amount_minor=amount) for code, amount in sums.items()]
    for dry_run in (True, False):
        told = await refusal(opener.run(LINES, sums=controls, dry_run=dry_run))
        assert (told.reason, told.metadata) == ("CONTROL_SUM_MISMATCH", facts)
    assert await opener.ledger.head() == head


async def test_line_that_has_changed_is_posted_by_force_alone(opener: Opener) -> None:
    """By a further transaction over the difference; what was posted stays as it is."""
    await opener.run(LINES)
    before = await opening(opener.ledger, "ada")
    changed = [line(2, "ada", 900, 60), *LINES[1:]]
    imported = Imported()

    told = await refusal(opener.run(changed, imported=imported))
    assert (told.reason, imported.refused) == ("IMPORT_LINES_REFUSED", {2: "OPENING_BALANCE_CHANGED"})
    forced = await opener.run(changed, force=True)

    assert forced.result is not None
    [sums] = forced.result.currencies
    assert (sums.correct_count, sums.correct_minor, sums.present_count) == (1, -90, 3)
    assert await money(opener.ledger, "player:ada") == {
        "player:ada:bonus:EUR": 60,
        "player:ada:real:EUR": 900,
    }
    assert await opening(opener.ledger, "ada") == before
    again = await opener.run(changed, force=True)
    assert again.result is not None
    assert again.result.currencies[0].present_count == 4
    await assert_ledger_coherent(opener.ledger)


async def test_player_of_another_import_is_refused_until_that_is_reversed(opener: Opener) -> None:
    """The money of a player can't be taken over twice, whatever the imports are called."""
    await opener.run(LINES[:1])
    imported = Imported()
    for force in (False, True):
        again = opener.run(LINES[:1], import_id="legacy-2", force=force, imported=imported)
        assert (await refusal(again)).reason == "IMPORT_LINES_REFUSED"
        assert imported.refused == {2: "OPENING_BALANCE_OF_OTHER_IMPORT"}

    await opener.ledger.reverse((await opening(opener.ledger, "ada")).transaction_id)
    assert (await refusal(opener.run(LINES[:1], imported=imported))).reason == "IMPORT_LINES_REFUSED"
    assert imported.refused == {2: "OPENING_BALANCE_CHANGED"}
    await opener.run(LINES[:1], import_id="legacy-2")

    assert (await opening(opener.ledger, "ada", 1)).reference == "legacy-2"
    assert await opener.ledger.posted(EQUITY) == -1_050
    await assert_ledger_coherent(opener.ledger)


async def test_player_who_has_moved_money_gets_the_opening_in_addition(opener: Opener) -> None:
    """The opening is what the legacy system owes; what was played here is counted besides."""
    await opener.ledger.open("player:ada:real:EUR")
    await opener.ledger.post("house", "player:ada:real:EUR", 30)

    await opener.run(LINES[:1])

    assert await opener.ledger.posted("player:ada:real:EUR") == 1_030


async def test_frozen_wallet_takes_an_opening_and_no_lower_one(opener: Opener) -> None:
    """As it takes wins, and no bets; a closed one takes neither."""
    await opener.ledger.open("player:ada:real:EUR")
    await opener.ledger.freeze("player:ada:real:EUR")
    await opener.ledger.open("player:bob:real:EUR")
    await opener.ledger.close("player:bob:real:EUR")
    imported = Imported()

    await opener.run(LINES[:1])
    lower = opener.run([line(2, "ada", 999, 50), line(3, "bob", 7)], force=True, imported=imported)

    assert (await refusal(lower)).reason == "IMPORT_LINES_REFUSED"
    assert imported.refused == {2: "ACCOUNT_FROZEN", 3: "ACCOUNT_CLOSED"}


async def test_correction_of_what_was_spent_is_refused_where_limits_bind(opener: Opener) -> None:
    """And marked in SHADOW, as any other transaction is."""
    await opener.run(LINES[:1])
    await opener.ledger.post("player:ada:real:EUR", "house", 990)
    imported = Imported()
    lower = [line(2, "ada", 900, 50)]

    assert (await refusal(opener.run(lower, force=True, imported=imported))).reason == "IMPORT_LINES_REFUSED"
    assert imported.refused == {2: "INSUFFICIENT_FUNDS"}
    await opener.ledger.enforce(SHADOW)
    await opener.run(lower, force=True)

    assert (await opening(opener.ledger, "ada", 1)).limit_breached
    assert await opener.ledger.posted("player:ada:real:EUR") == -90


async def test_reversal_that_comes_while_a_line_is_corrected_is_told(
    opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it left is no line's balance; the next run posts the rest."""
    await opener.run(LINES[:1])
    first = (await opening(opener.ledger, "ada")).transaction_id
    known, looks = OpeningReads.known, 0

    async def overtaken(self: OpeningReads, *asked: Any) -> KnownOpenings:
        nonlocal looks
        found = await known(self, *asked)
        looks += 1
        if looks == 2:  # the one that the second pass begins with
            await opener.ledger.reverse(first)
        return found

    monkeypatch.setattr(OpeningReads, "known", overtaken)
    imported = Imported()
    more = [line(2, "ada", 1_100, 50)]

    assert (await refusal(opener.run(more, force=True, imported=imported))).reason == "IMPORT_LINES_REFUSED"
    assert imported.refused == {2: "OPENING_BALANCE_CHANGED"}
    assert await opener.ledger.posted("player:ada:real:EUR") == 100
    await opener.run(more, force=True)

    assert await opener.ledger.posted("player:ada:real:EUR") == 1_100
    assert await opener.ledger.posted("player:ada:bonus:EUR") == 50


async def test_account_of_openings_that_takes_nothing_stops_all(opener: Opener) -> None:
    """It is looked at before the first line is posted."""
    await opener.ledger.open(EQUITY, kind=account_pb2.ACCOUNT_KIND_EQUITY)
    await opener.ledger.freeze(EQUITY)
    head = await opener.ledger.head()

    told = await refusal(opener.run(LINES))

    assert (told.reason, told.metadata["account_id"]) == ("ACCOUNT_FROZEN", EQUITY)
    assert await opener.ledger.head() == head


async def test_name_of_the_account_of_openings_is_reserved(opener: Opener) -> None:
    """Nobody opens it as something else by mistake."""
    told = await refusal(opener.ledger.open(EQUITY))

    assert told.reason == "ACCOUNT_NAME_RESERVED"


@pytest.mark.parametrize(
    "second",
    [
        messages([line(2, "ada", 999, 51), *LINES[1:]]),
        messages(LINES[:2]),
        messages([*LINES, line(6, "eve", 5)]),
        messages(LINES, size=2),
        [*messages(LINES, size=2)[:1], *messages(LINES[2:], size=1)],
    ],
    ids=["amount", "fewer", "more", "cut otherwise", "cut otherwise behind"],
)
async def test_second_pass_that_differs_ends_the_call(opener: Opener, second: list[Message]) -> None:
    """Nothing is posted that was not checked; what was posted by then is right, and the next call goes on."""
    first = [Message(header=opener.header(LINES)), *messages(LINES)]

    told = await refusal(opener.send(first, second))
    assert (told.code, told.reason) == (grpc.StatusCode.ABORTED, "IMPORT_CHANGED")
    assert await money(opener.ledger) in ({}, WALLETS)
    await opener.run(LINES)

    assert await money(opener.ledger) == WALLETS


SOUND = Header(tenant_id="casino", import_id="one", control_sums=sums_of(LINES))


def header(**changed: object) -> Message:
    """Return a header, sound but for what is changed."""
    made = Header()
    made.CopyFrom(SOUND)
    for name in changed:
        made.ClearField(name)  # type: ignore[arg-type]  # a field's name
    made.MergeFrom(Header(**changed))  # type: ignore[arg-type]
    return Message(header=made)


ITEMS = messages(LINES)


@pytest.mark.parametrize(
    ("parts", "reason", "told"),
    [
        ([], "FIELD_MISSING", "header"),
        (ITEMS, "FIELD_MISSING", "header"),
        ([header(), header()], "FIELD_MALFORMED", "header"),
        ([header()], "FIELD_MISSING", "pass_end"),
        ([header(), Message(pass_end=True)], "FIELD_MISSING", "items"),
        ([header(), Message()], "BATCH_SIZE_OUT_OF_RANGE", "items"),
        ([header(), Message(items=LINES[:1] * 1_001)], "BATCH_SIZE_OUT_OF_RANGE", "items"),
        ([header(tenant_id=""), *ITEMS], "FIELD_MISSING", "header.tenant_id"),
        ([header(tenant_id="nobody"), *ITEMS], "TENANT_NOT_FOUND", ""),
        ([header(import_id=""), *ITEMS], "FIELD_MISSING", "header.import_id"),
        ([header(import_id="a b"), *ITEMS], "FIELD_MALFORMED", "header.import_id"),
        ([header(import_id="x" * 65), *ITEMS], "FIELD_MALFORMED", "header.import_id"),
        ([header(control_sums=[]), *ITEMS], "FIELD_MISSING", "header.control_sums"),
        (
            [header(control_sums=sums_of(LINES) * 2), *ITEMS],
            "FIELD_MALFORMED",
            "header.control_sums[1].currency_code",
        ),
        (
            [header(control_sums=[pb.ControlSum(currency_code="EUR", amount_minor=-1)]), *ITEMS],
            "FIELD_OUT_OF_RANGE",
            "header.control_sums[0].amount_minor",
        ),
    ],
)
async def test_call_out_of_shape_is_refused(
    opener: Opener, parts: list[Message], reason: str, told: str
) -> None:
    """The header first, once; then lines, and the end of the pass."""
    head = await opener.ledger.head()
    sent = [Message.FromString(part.SerializeToString()) for part in parts]
    for part in sent:
        if part.header.tenant_id == "casino":
            part.header.tenant_id = opener.ledger.tenant_id
    refused = await refusal(opener.send(sent, closes=len(parts) < 2))

    assert refused.reason == reason
    assert told in (*refused.violated_fields, refused.metadata.get("field", ""))
    assert await opener.ledger.head() == head


async def test_more_lines_than_an_import_may_have_are_refused(
    opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the server keeps of each line has a bound."""
    monkeypatch.setattr(opening_import, "MAX_LINES", 3)

    told = await refusal(opener.run(LINES))

    assert (told.reason, told.metadata) == ("FIELD_TOO_LONG", {"field": "items", "limit": "3"})


async def test_sums_that_no_account_can_hold_are_refused(opener: Opener) -> None:
    """Before anything is posted."""
    lines = [line(number, real=2**62) for number in range(2, 5)]
    sums = [pb.ControlSum(currency_code="EUR", amount_minor=1)]

    assert (await refusal(opener.run(lines, sums=sums))).reason == "AMOUNT_OVERFLOW"


async def test_caller_who_falls_silent_is_not_waited_for(
    opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that others can import; the call may be made again."""
    monkeypatch.setattr(opening_import, "_SILENCE_SECONDS", 0.05)
    silent = asyncio.Event()

    async def requests() -> AsyncIterator[Message]:
        yield Message(header=opener.header(LINES))
        await silent.wait()

    async def ask() -> None:
        async for _ in opener.stub.ImportOpeningBalances(requests()):
            pass

    assert (await refusal(ask())).reason == "DEADLINE_PASSED"


async def test_server_that_drains_ends_an_import_that_waits(server: Service) -> None:
    """A caller between two messages keeps no server from ending; another one takes the same call."""
    opener = Opener(await server.new_ledger())
    taken = asyncio.Event()

    async def requests() -> AsyncIterator[Message]:
        yield Message(header=opener.header(LINES))
        await asyncio.Event().wait()

    async def ask() -> None:
        async for _ in opener.stub.ImportOpeningBalances(requests()):
            taken.set()

    async with asyncio.timeout(HANG_SECONDS):
        asking = asyncio.create_task(refusal(ask()))
        await taken.wait()
        await server.server.drain()

        assert (await asking).reason == "SHUTTING_DOWN"
