"""Owns the scope of a run: its window, its grace periods, and what the provider's listing proves."""

from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from ledger_server.domain.findings.discrepancy import RULES, FindingClass
from ledger_server.domain.provider_record import ProviderRecordKind

EDGE: Final = timedelta(hours=1)
"""How far beyond its window a run reads: the two sides' clocks, and what they call the time, differ."""

STALE_AFTER: Final = RULES[FindingClass.STALE_PENDING].grace

_GRACE: Final = {
    ProviderRecordKind.FEE: RULES[FindingClass.FEE_MISMATCH].grace,
    ProviderRecordKind.SETTLEMENT: timedelta(days=5),
}


class Scope(Struct, frozen=True, kw_only=True):
    """What a run looks at.

    Attributes:
        now: when the run began to compare.
        grace: how young a one-sided movement may be; None for each kind's own.
        complete: whether the listing was read to its end.
        listed: the kinds that the listing covers wholly: only of these, absence proves something.
    """

    from_time: datetime
    to_time: datetime
    now: datetime
    grace: timedelta | None = None
    stale_after: timedelta = STALE_AFTER
    complete: bool = True
    listed: frozenset[ProviderRecordKind]

    def covers(self, time: datetime | None) -> bool:
        """Whether a movement lies in the window; one without a time lies in none."""
        return time is not None and self.from_time <= time < self.to_time

    def reads(self, time: datetime) -> bool:
        """Whether a movement of that time would be among the records that were read."""
        return self.from_time - EDGE <= time < self.to_time + EDGE

    def young(self, time: datetime, kind: ProviderRecordKind) -> bool:
        """Whether a movement is so young that the other side may simply not have it yet."""
        grace = self.grace
        if grace is None:
            grace = _GRACE.get(kind, RULES[FindingClass.MISSING_IN_LEDGER].grace)
        return self.now - time < grace

    def stale(self, since: datetime) -> bool:
        """Whether something should have come to an end by now."""
        return self.now - since >= self.stale_after

    def proves_absence(self, kind: ProviderRecordKind) -> bool:
        """Whether absence from the listing proves that the provider has no such record."""
        return self.complete and kind in self.listed
