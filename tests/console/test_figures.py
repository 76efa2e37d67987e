"""Own what pages make of counts: nothing is counted twice or left out, and days are those of the zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from console.figures import CREDITED, PAID, days_before, moved, of_currency, rates, waiting
from console.formats import moment_of
from defter_client import messages as m

PROVIDERS = st.sampled_from(["mock", "stripe"])
CURRENCIES = st.sampled_from(["EUR", "TRY"])
AMOUNTS = st.integers(0, 2**63 - 1)
DEPOSITS = st.lists(
    st.builds(
        m.DepositCount,
        state=st.sampled_from([each for each in m.DepositState.values() if each]),
        currency_code=CURRENCIES,
        provider=PROVIDERS,
        count=st.integers(1, 50_000),
        amount_minor=AMOUNTS,
        at_least=st.booleans(),
    ),
    max_size=12,
)
WITHDRAWALS = st.lists(
    st.builds(
        m.WithdrawalCount,
        state=st.sampled_from([each for each in m.WithdrawalState.values() if each]),
        currency_code=CURRENCIES,
        provider=PROVIDERS,
        count=st.integers(1, 50_000),
        amount_minor=AMOUNTS,
        at_least=st.booleans(),
    ),
    max_size=12,
)


@given(DEPOSITS, WITHDRAWALS)
def test_money_is_what_was_credited_and_paid_of_each_provider_once(
    deposits: list[m.DepositCount], withdrawals: list[m.WithdrawalCount]
) -> None:
    """Sums beyond 64 bits are exact, and one count that was cut marks what it is in."""
    rows = moved(deposits, withdrawals)
    assert len({(row.currency, row.provider) for row in rows}) == len(rows)
    for currency in ("EUR", "TRY"):
        both = of_currency(rows, currency)
        came = [each for each in deposits if each.state in CREDITED and each.currency_code == currency]
        went = [each for each in withdrawals if each.state in PAID and each.currency_code == currency]
        assert both.in_minor == sum(each.amount_minor for each in came)
        assert both.out_minor == sum(each.amount_minor for each in went)
        assert both.at_least is (any(each.at_least for each in came) or any(each.at_least for each in went))


@given(DEPOSITS, WITHDRAWALS)
def test_rates_are_between_nothing_and_all(
    deposits: list[m.DepositCount], withdrawals: list[m.WithdrawalCount]
) -> None:
    """All is said only where all were done."""
    for rate in rates(deposits, withdrawals):
        assert 0 <= rate.done <= rate.ended
        assert 0 <= rate.permille <= 1_000
        assert (rate.permille == 1_000) is (rate.done == rate.ended)


@given(WITHDRAWALS)
def test_each_state_that_waits_is_told_with_its_oldest(withdrawals: list[m.WithdrawalCount]) -> None:
    """A state in which nothing waits is told with 0."""
    for number, each in enumerate(withdrawals, 1):
        each.oldest_time.FromSeconds(number)
    for state, found in zip(
        (m.WITHDRAWAL_STATE_REQUESTED, m.WITHDRAWAL_STATE_APPROVED),
        waiting(withdrawals, (m.WITHDRAWAL_STATE_REQUESTED, m.WITHDRAWAL_STATE_APPROVED)),
        strict=True,
    ):
        ours = [each for each in withdrawals if each.state == state]
        assert found.count == sum(each.count for each in ours)
        assert found.oldest.seconds == min((each.oldest_time.seconds for each in ours), default=0)
        assert sum(found.sums.values()) == sum(each.amount_minor for each in ours)


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2035, 1, 1)),  # noqa: DTZ001  # the strategy adds the zone
    st.sampled_from(["UTC", "Europe/Istanbul", "Europe/Berlin", "America/New_York", "Pacific/Apia"]),
)
def test_days_follow_each_other_without_a_gap_whatever_clocks_do(moment: datetime, zone: str) -> None:
    """Each day ends where the next one begins, and now is in today."""
    now = moment.replace(tzinfo=UTC)
    days = days_before(now, ZoneInfo(zone), 7)
    begins = [moment_of(day.begin) for day in days]
    ends = [None if day.end is None else moment_of(day.end) for day in days]
    assert ends[0] is None
    assert ends[1:] == begins[:-1]
    assert begins[0] is not None
    assert timedelta(0) <= now - begins[0] <= timedelta(hours=25)
