"""Owns the comparison of a snapshot's balances with the ledger's: what differs, how, and what findings say.

Both sides come in one order, by player and currency. So a stretch of players is compared as soon as both
sides are known up to its end, and nothing holds more than that.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from msgspec import Struct

from ledger_server.domain.code import Code
from ledger_server.domain.findings.discrepancy import Discrepancy, FindingClass, Side
from ledger_server.domain.payments.accounts import bonus_account, player_account
from ledger_server.domain.provider_record import ProviderRecordKind


class Bucket(Code):
    """Which of a player's accounts of one currency; numbers are those of the contract."""

    REAL = 1
    BONUS = 2


class DriftKind(Code):
    """How two sides differ; numbers are those of the contract."""

    DRIFTED = 1
    MISSING_HERE = 2
    MISSING_THERE = 3


class Balance(NamedTuple):
    """What one side has of a player in one currency, minor units; None: it has nothing, not even zero."""

    player_id: str
    currency: str
    real: int | None
    bonus: int | None

    def of(self, bucket: Bucket) -> int | None:
        """Return the money of a bucket."""
        return self.real if bucket is Bucket.REAL else self.bonus


class Drift(Struct, frozen=True, kw_only=True):
    """A difference in one bucket."""

    player_id: str
    currency: str
    bucket: Bucket
    kind: DriftKind
    ledger: int | None
    snapshot: int | None

    @property
    def difference(self) -> int:
        """The snapshot's money less the ledger's."""
        return (self.snapshot or 0) - (self.ledger or 0)

    @property
    def account_id(self) -> str:
        """The account that holds such money, whether or not the ledger has it."""
        name = player_account if self.bucket is Bucket.REAL else bonus_account
        return name(self.player_id, self.currency)


class ComparedBalances(NamedTuple):
    """What a stretch has: how many buckets are equal, which, and the differences in order."""

    equal: Sequence[tuple[Balance, Bucket]]
    drifts: Sequence[Drift]


class Moment(NamedTuple):
    """The moment of a snapshot: the ledger's last record of it, and the instant if one was asked for."""

    sequence: int
    time: datetime | None

    def is_before(self, other: "Moment") -> bool:
        """Whether the other one is known to be later.

        With the same record, instants tell two snapshots apart: the legacy system may have moved on alone.
        """
        if self.sequence != other.sequence:
            return self.sequence < other.sequence
        return self.time is not None and other.time is not None and self.time < other.time


BUCKETS: Final = tuple(Bucket)


def place(player_id: str, currency: str) -> tuple[str, str]:
    """Return where a balance stands in the order of both sides: that of the ids of accounts.

    `player:7:…` comes behind `player:71:…`, since a colon comes behind digits.
    """
    return f"{player_id}:", currency


def kind_of(ledger: int | None, snapshot: int | None) -> DriftKind | None:
    """Return how two amounts differ; None if they do not. Nothing is as much as zero."""
    if (ledger or 0) == (snapshot or 0):
        return None
    if ledger is None:
        return DriftKind.MISSING_HERE
    return DriftKind.MISSING_THERE if snapshot is None else DriftKind.DRIFTED


def compare(
    ledger: Iterable[Balance],
    snapshot: Iterable[Balance],
    buckets: Sequence[Bucket] = BUCKETS,
) -> ComparedBalances:
    """Compare a stretch in which both sides are known to their end; each has a player and currency once."""
    here = {place(each.player_id, each.currency): each for each in ledger}
    there = {place(each.player_id, each.currency): each for each in snapshot}
    equal: list[tuple[Balance, Bucket]] = []
    drifts: list[Drift] = []
    for where in sorted(here.keys() | there.keys()):
        ours, theirs = here.get(where), there.get(where)
        known = theirs or ours
        assert known is not None
        for bucket in buckets:
            mine = None if ours is None else ours.of(bucket)
            told = None if theirs is None else theirs.of(bucket)
            if mine is None and told is None:
                continue
            kind = kind_of(mine, told)
            if kind is None:
                equal.append((known, bucket))
                continue
            drifts.append(
                Drift(
                    player_id=known.player_id,
                    currency=known.currency,
                    bucket=bucket,
                    kind=kind,
                    ledger=mine,
                    snapshot=told,
                )
            )
    return ComparedBalances(equal, drifts)


def discrepancy_of(drift: Drift, source: str, moment: datetime, *, sequence: int, since: int) -> Discrepancy:
    """Return a difference as findings have it.

    Args:
        moment: of the snapshot.
        sequence: the last record that was compared with.
        since: the first record that can have made it, 0 for none.
    """
    side = Side(
        ref=drift.account_id,
        kind=ProviderRecordKind.OTHER,
        amount=drift.ledger,
        currency=drift.currency,
        state="" if drift.ledger is not None else "no account",
        time=moment,
        type="",
    )
    there = Side(
        ref=drift.account_id,
        kind=ProviderRecordKind.OTHER,
        amount=drift.snapshot,
        currency=drift.currency,
        state="" if drift.snapshot is not None else "no line",
        time=moment,
        type="",
    )
    return Discrepancy(
        kind=FindingClass.BALANCE_DRIFT,
        provider=source,
        payment=None,
        withdrawal=False,
        ledger=side,
        remote=there,
        currency=drift.currency,
        description=_WORDS[drift.kind],
        evidence={
            "player_id": drift.player_id,
            "bucket": drift.bucket.name.lower(),
            "difference_minor": str(drift.difference),
            "sequence": str(sequence),
            "since_sequence": str(since),
        },
        subject_time=moment,
    )


def fingerprint_of(balance: Balance, bucket: Bucket, source: str, moment: datetime) -> bytes:
    """Return the fingerprint of a finding about a bucket, whether or not there is one."""
    drift = Drift(
        player_id=balance.player_id,
        currency=balance.currency,
        bucket=bucket,
        kind=DriftKind.DRIFTED,
        ledger=None,
        snapshot=None,
    )
    return discrepancy_of(drift, source, moment, sequence=0, since=0).fingerprint


_WORDS: Final = {
    DriftKind.DRIFTED: "the snapshot has another balance than the ledger at the same moment",
    DriftKind.MISSING_HERE: "the snapshot has money of a player for whom the ledger has no account",
    DriftKind.MISSING_THERE: "the ledger has money of a player whom the snapshot does not have",
}
