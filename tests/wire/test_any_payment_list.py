"""Own the promise that lists and counts of payments are right for any filter, order, page and writer.

The model is a list of all payments and one plain condition; it knows neither indexes nor pages.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import pytest
from defter.payments.v1 import deposit_pb2, payment_pb2, withdrawal_pb2
from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis import strategies as st

from ledger_server.store.queries import rendering
from tests.simulation.driving import World
from tests.support.cashier import CAPTURED, Cashier
from tests.support.clock import START
from tests.support.coherence import assert_ledger_coherent
from tests.support.fake_provider import PROVIDER, SILENT_PROVIDER, fake_providers
from tests.support.postgres import run_sql
from tests.support.randomness import SEED
from tests.support.requests import timestamp

PLAYERS: Final = ("ann", "bob", "cyd")
PROVIDERS: Final = (PROVIDER, SILENT_PROVIDER)
CURRENCIES: Final = ("EUR", "USD")
# The last one is written in bodies that have the two before it.
REFERENCES: Final = ("", "order-1", "order-10", "é", "r", 'e\x01"é')
AMOUNTS: Final = (100, 200, 300)
COUNT: Final = 48
SECONDS_BETWEEN: Final = 10
SPECIALS: Final = ("ref-same", "ref-none")
OPEN: Final = (1, 2)


class Kind(NamedTuple):
    """One of the two kinds of payments, and its lists and counts."""

    service: str
    list_request: Any
    list_method: str
    count_request: Any
    count_method: str
    states: Any


DEPOSITS: Final = Kind(
    "deposits",
    deposit_pb2.ListDepositsRequest,
    "ListDeposits",
    deposit_pb2.CountDepositsRequest,
    "CountDeposits",
    payment_pb2.DepositState,
)
WITHDRAWALS: Final = Kind(
    "withdrawals",
    withdrawal_pb2.ListWithdrawalsRequest,
    "ListWithdrawals",
    withdrawal_pb2.CountWithdrawalsRequest,
    "CountWithdrawals",
    payment_pb2.WithdrawalState,
)


def begun(payment: Any) -> datetime:
    """Return when a payment was begun."""
    time = payment.initiate_time if hasattr(payment, "initiate_time") else payment.request_time
    found: datetime = time.ToDatetime(UTC)
    return found


def fits(payment: Any, wanted: dict[str, Any]) -> bool:
    """Whether a payment is one of those that a request asks for."""
    states = [*wanted.get("states", ()), *([wanted["state"]] if wanted.get("state") else ())]
    any_state = not states or 0 in states
    checks = [any_state or payment.state in states]
    texts = ("player_id", "provider", "provider_ref", "currency_code", "reference")
    checks += [wanted.get(name, "") in ("", getattr(payment, name)) for name in texts]
    checks.append(payment.amount_minor >= wanted.get("min_amount_minor", 0))
    checks.append(payment.amount_minor <= (wanted.get("max_amount_minor", 0) or 2**63))
    start, end = wanted.get("from_time"), wanted.get("to_time")
    checks.append(start is None or begun(payment) >= start.ToDatetime(UTC))
    checks.append(end is None or begun(payment) < end.ToDatetime(UTC))
    return all(checks)


async def capture(cashier: Cashier, amount: int, **fields: Any) -> str:
    """Begin a deposit at any provider, have it captured and return its id."""
    deposit_id = (await cashier.initiate(amount, **fields)).deposit_id
    at = {name: fields[name] for name in ("provider", "currency_code") if name in fields}
    await cashier.ingest(cashier.event(CAPTURED, deposit_id, amount, **at))
    return deposit_id


async def make_payments(world: World, cashier: Cashier) -> dict[str, list[Any]]:
    """Make payments that differ in everything that a filter names; return them in their order."""
    withdrawals: list[str] = []
    deposits = [
        await capture(cashier, 100_000, player_id=player, currency_code=currency)
        for player in PLAYERS
        for currency in CURRENCIES
    ]
    for at in range(COUNT):
        world.clock.advance(seconds=SECONDS_BETWEEN)
        common: dict[str, Any] = {
            "player_id": PLAYERS[at % 3],
            "provider": PROVIDERS[at // 2 % 2],
            "currency_code": CURRENCIES[at // 4 % 2],
            "reference": REFERENCES[at % len(REFERENCES)],
        }
        amount = AMOUNTS[at // 3 % 3]
        if at % 2:
            ref = "ref-same" if at in (1, 3) else f"ref-{at}"
            if at % 3 == 0:
                deposits.append(await capture(cashier, amount, provider_ref=ref, **common))
            else:
                deposits.append((await cashier.initiate(amount, provider_ref=ref, **common)).deposit_id)
        else:
            withdrawal_id = (await cashier.request(amount, **common)).withdrawal_id
            withdrawals.append(withdrawal_id)
            match at // 2 % 4:
                case 1:
                    await cashier.reject(withdrawal_id)
                case 2:
                    await cashier.approve(withdrawal_id)
                case 3:
                    await cashier.add_note(withdrawal_id, "order-1")
    world.clock.advance(seconds=SECONDS_BETWEEN)
    await cashier.until_called()
    return {
        "deposits": [await cashier.deposit(each) for each in deposits],
        "withdrawals": [await cashier.withdrawal(each) for each in withdrawals],
    }


def times() -> st.SearchStrategy[Any]:
    """Return times at, between, before and behind those of the payments."""
    seconds = st.integers(0, 2 * COUNT + 2).map(lambda half: half * SECONDS_BETWEEN // 2)
    return st.none() | seconds.map(
        lambda later: timestamp(START.fromtimestamp(START.timestamp() + later, UTC))
    )


@st.composite
def filters(draw: st.DrawFn, refs: list[str]) -> dict[str, Any]:
    """Draw the fields of a request; most leave most filters out."""

    def maybe(strategy: st.SearchStrategy[Any], default: Any) -> Any:
        return draw(strategy) if draw(st.integers(0, 2)) == 0 else default

    wanted = {
        "player_id": maybe(st.sampled_from([*PLAYERS, "nobody"]), ""),
        "state": maybe(st.integers(0, 7), 0),
        "states": maybe(st.lists(st.integers(0, 7), max_size=4), []),
        "provider": maybe(st.sampled_from([*PROVIDERS, "nowhere"]), ""),
        "provider_ref": maybe(st.sampled_from([*SPECIALS, *refs]), "") if draw(st.booleans()) else "",
        "reference": maybe(st.sampled_from([*REFERENCES, "order", "none"]), ""),
        "currency_code": maybe(st.sampled_from([*CURRENCIES, "GBP"]), ""),
        "newest_first": draw(st.booleans()),
        "from_time": maybe(times(), None),
        "to_time": maybe(times(), None),
    }
    if wanted["currency_code"]:
        low, high = draw(st.sampled_from([0, 1, 100, 200, 201])), draw(st.sampled_from([0, 200, 300, 2**62]))
        wanted.update(min_amount_minor=low, max_amount_minor=0 if high < low else high)
    return {name: value for name, value in wanted.items() if value is not None}


async def listed(cashier: Cashier, kind: Kind, wanted: dict[str, Any], size: int) -> list[Any]:
    """Return what all pages have, none of which is larger than was asked for."""
    request = kind.list_request(tenant_id=cashier.ledger.tenant_id, page_size=size, **wanted)
    found: list[Any] = []
    for _ in range(3 * COUNT):
        page = await getattr(getattr(cashier.stubs, kind.service), kind.list_method)(request)
        items = getattr(page, kind.service)
        assert len(items) <= size
        found += items
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token
    raise AssertionError("the list has no end")


async def counted(cashier: Cashier, kind: Kind, window: dict[str, Any]) -> dict[tuple[int, str, str], Any]:
    """Return the counts, in the order of the answer."""
    request = kind.count_request(tenant_id=cashier.ledger.tenant_id, **window)
    answer = await getattr(getattr(cashier.stubs, kind.service), kind.count_method)(request)
    return {(each.state, each.currency_code, each.provider): each for each in answer.counts}


@pytest.mark.parametrize("older", [False, True], ids=["today", "beside rows of before"])
def test_any_filter_order_and_page_returns_what_fits_once(database_url: str, *, older: bool) -> None:
    """Rows that an earlier version wrote have no reference of their own, and are found all the same."""
    with World(database_url, narrow=False, providers=fake_providers()) as world:
        ledger = world.run(world.service.new_ledger("casino"))
        cashier = Cashier(ledger)
        payments = world.run(make_payments(world, cashier))
        world.run(assert_ledger_coherent(ledger))
        if older:
            run_sql(database_url, "UPDATE payments SET reference = NULL WHERE payment_number % 3 > 0")
        refs = sorted({each.provider_ref for kind in payments.values() for each in kind if each.provider_ref})

        @seed(SEED)
        @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
        @given(
            kind=st.sampled_from([DEPOSITS, WITHDRAWALS]),
            wanted=filters(refs),
            size=st.sampled_from([1, 2, 5, 1000]),
            scan=st.sampled_from([1, 7, 50_000]),
        )
        def look(kind: Kind, wanted: dict[str, Any], size: int, scan: int) -> None:
            note(f"{kind.list_method} {wanted}")
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(rendering, "SCAN_LIMIT", scan)
                found = world.run(listed(cashier, kind, wanted, size))
            expected = [each for each in payments[kind.service] if fits(each, wanted)]
            assert found == (expected[::-1] if wanted["newest_first"] else expected)

        @seed(SEED)
        @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
        @given(kind=st.sampled_from([DEPOSITS, WITHDRAWALS]), start=times(), end=times())
        def count(kind: Kind, start: Any, end: Any) -> None:
            window = (
                {} if start is None else {"from_time": start, **({} if end is None else {"to_time": end})}
            )
            found = world.run(counted(cashier, kind, window))
            groups: dict[tuple[int, str, str], list[Any]] = {}
            for each in payments[kind.service]:
                if each.state in OPEN or (window and fits(each, window)):
                    groups.setdefault((each.state, each.currency_code, each.provider), []).append(each)
            assert list(found) == sorted(groups)
            for group, of in groups.items():
                told = found[group]
                assert (told.count, told.amount_minor) == (len(of), sum(each.amount_minor for each in of))
                assert told.oldest_time.ToDatetime(UTC) == min(map(begun, of))
                assert not told.at_least

        look()
        count()
