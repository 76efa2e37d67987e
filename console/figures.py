"""Owns what pages make of counts: money by day, rates of success, what waits. It asks nothing.

Counts of the ledger are of payments by the time at which they were begun, with what was asked for in all.
Money in is what was credited of it, whatever became of it afterwards; money out is what was paid.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from google.protobuf.timestamp_pb2 import Timestamp

from defter_client import messages as m

CREDITED: Final = (
    m.DEPOSIT_STATE_CAPTURED,
    m.DEPOSIT_STATE_PARTIALLY_REFUNDED,
    m.DEPOSIT_STATE_REFUNDED,
    m.DEPOSIT_STATE_REVERSED,
)
PAID: Final = (m.WITHDRAWAL_STATE_PAID, m.WITHDRAWAL_STATE_REVERSED)
_DEPOSITS_OPEN: Final = (m.DEPOSIT_STATE_INITIATED, m.DEPOSIT_STATE_AUTHORIZED)
# What people have decided or players have taken back is no matter of a provider's success.
_WITHDRAWALS_OF_PROVIDERS: Final = (*PAID, m.WITHDRAWAL_STATE_FAILED)

Count = m.DepositCount | m.WithdrawalCount


@dataclass(frozen=True, slots=True)
class Day:
    """A day of the page's zone.

    Attributes:
        end: not part of it; None for today, which goes on.
    """

    date: date
    begin: Timestamp
    end: Timestamp | None


def days_before(now: datetime, zone: ZoneInfo, count: int) -> tuple[Day, ...]:
    """Return so many days, today first. A day of a change of clocks has 23 or 25 hours."""
    today = now.astimezone(zone).date()
    return tuple(
        Day(
            day,
            _begin(day, zone),
            None if number == 0 else _begin(day + timedelta(days=1), zone),
        )
        for number in range(count)
        for day in (today - timedelta(days=number),)
    )


def _begin(day: date, zone: ZoneInfo) -> Timestamp:
    found = Timestamp()
    found.FromDatetime(datetime.combine(day, time(), zone).astimezone(UTC))
    return found


@dataclass(frozen=True, slots=True)
class Moved:
    """What has moved by one provider in one currency.

    Attributes:
        at_least: whether there may be more: a count has its bound.
    """

    provider: str
    currency: str
    in_count: int = 0
    in_minor: int = 0
    out_count: int = 0
    out_minor: int = 0
    at_least: bool = False

    def __add__(self, other: "Moved") -> "Moved":
        """Return both together, under the names of this one."""
        return Moved(
            self.provider,
            self.currency,
            self.in_count + other.in_count,
            self.in_minor + other.in_minor,
            self.out_count + other.out_count,
            self.out_minor + other.out_minor,
            self.at_least or other.at_least,
        )


def moved(deposits: Iterable[m.DepositCount], withdrawals: Iterable[m.WithdrawalCount]) -> tuple[Moved, ...]:
    """Return what has come in and gone out, by currency and provider."""
    found: dict[tuple[str, str], Moved] = {}
    for part in _parts(deposits, withdrawals):
        name = part.currency, part.provider
        found[name] = found[name] + part if name in found else part
    return tuple(found[name] for name in sorted(found))


def _parts(deposits: Iterable[m.DepositCount], withdrawals: Iterable[m.WithdrawalCount]) -> Iterator[Moved]:
    for deposit in deposits:
        if deposit.state in CREDITED:
            yield Moved(
                deposit.provider,
                deposit.currency_code,
                in_count=deposit.count,
                in_minor=deposit.amount_minor,
                at_least=deposit.at_least,
            )
    for withdrawal in withdrawals:
        if withdrawal.state in PAID:
            yield Moved(
                withdrawal.provider,
                withdrawal.currency_code,
                out_count=withdrawal.count,
                out_minor=withdrawal.amount_minor,
                at_least=withdrawal.at_least,
            )


def of_currency(rows: Iterable[Moved], currency: str) -> Moved:
    """Return what all providers together have moved in a currency."""
    return sum((row for row in rows if row.currency == currency), Moved("", currency))


@dataclass(frozen=True, slots=True)
class Rate:
    """How often a provider's payments of one kind have come to what they were for.

    Attributes:
        kind: `deposit` or `withdrawal`.
    """

    provider: str
    kind: str
    done: int
    ended: int
    at_least: bool

    @property
    def permille(self) -> int:
        """Of a thousand that have ended so many were done; rounded down, so that 100 % is all."""
        return self.done * 1_000 // self.ended


def rates(deposits: Iterable[m.DepositCount], withdrawals: Iterable[m.WithdrawalCount]) -> tuple[Rate, ...]:
    """Return the rates of providers of which something has ended, by provider and kind."""
    found: dict[tuple[str, str], list[int]] = {}
    for kind, counts, ended, done in (
        ("deposit", deposits, (*CREDITED, m.DEPOSIT_STATE_FAILED), CREDITED),
        ("withdrawal", withdrawals, _WITHDRAWALS_OF_PROVIDERS, PAID),
    ):
        assert isinstance(counts, Iterable)
        for each in counts:
            if each.state in ended:
                sums = found.setdefault((each.provider, kind), [0, 0, 0])
                sums[0] += each.count if each.state in done else 0
                sums[1] += each.count
                sums[2] |= each.at_least
    return tuple(Rate(*name, done, ended, bool(cut)) for name, (done, ended, cut) in sorted(found.items()))


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits in one state.

    Attributes:
        sums: by currency, minor units.
        oldest: when the oldest was begun.
    """

    state: int
    count: int
    sums: Mapping[str, int]
    oldest: Timestamp
    at_least: bool


def waiting(counts: Sequence[Count], states: Sequence[int]) -> tuple[Waiting, ...]:
    """Return what waits, by state in the order of these; states in which nothing waits are there with 0."""
    found = []
    for state in states:
        ours = [each for each in counts if each.state == state]
        sums: dict[str, int] = {}
        for each in ours:
            sums[each.currency_code] = sums.get(each.currency_code, 0) + each.amount_minor
        oldest = min((each.oldest_time for each in ours), key=lambda at: (at.seconds, at.nanos), default=None)
        found.append(
            Waiting(
                state,
                sum(each.count for each in ours),
                dict(sorted(sums.items())),
                Timestamp() if oldest is None else oldest,
                any(each.at_least for each in ours),
            )
        )
    return tuple(found)


DEPOSITS_OPEN: Final[tuple[int, ...]] = tuple(_DEPOSITS_OPEN)
WITHDRAWALS_OPEN: Final[tuple[int, ...]] = (m.WITHDRAWAL_STATE_REQUESTED, m.WITHDRAWAL_STATE_APPROVED)


@dataclass(frozen=True, slots=True)
class Clearing:
    """What a provider has of ours by the ledger, and what of that it has said to have paid out.

    Attributes:
        balance_minor: of its clearing account.
        to_confirm_minor: paid out by batches that add up and are not confirmed yet.
        to_confirm_count: how many such batches.
        unbalanced_count: batches that do not add up.
    """

    provider: str
    currency: str
    account_id: str
    balance_minor: int
    to_confirm_minor: int
    to_confirm_count: int
    unbalanced_count: int


def clearings(
    accounts: Iterable[m.ListAccountsResponse.Item], batches: Iterable[m.SettlementBatch]
) -> tuple[Clearing, ...]:
    """Return the clearing accounts of providers, by provider and currency, with their open batches."""
    known = list(batches)
    found = []
    for item in accounts:
        parts = item.account.account_id.split(":")
        if len(parts) != len(("psp", "provider", "clearing", "currency")) or parts[2] != "clearing":
            continue
        ours = [each for each in known if each.provider == parts[1] and each.currency_code == parts[3]]
        ready = [each for each in ours if each.state == m.SETTLEMENT_BATCH_STATE_BALANCED]
        found.append(
            Clearing(
                parts[1],
                item.account.currency_code,
                item.account.account_id,
                item.balance.posted_balance_minor,
                sum(each.paid_out_minor for each in ready),
                len(ready),
                sum(each.state == m.SETTLEMENT_BATCH_STATE_UNBALANCED for each in ours),
            )
        )
    return tuple(sorted(found, key=lambda each: (each.provider, each.currency)))
