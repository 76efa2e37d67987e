"""Owns the counts of a run, and their message."""

from collections import Counter
from collections.abc import Mapping

from defter.reconciliation.v1 import finding_pb2
from defter.reconciliation.v1 import reconciliation_pb2 as pb

from ledger_server.domain.findings.discrepancy import FindingClass
from ledger_server.domain.findings.finding import FindingState
from ledger_server.domain.reconciliation.payment_comparison import Comparison


class Progress:
    """What a run has counted so far."""

    def __init__(self) -> None:
        self.stage = pb.RUN_STAGE_FETCHING
        self.fetched = 0
        self.problem = ""
        self._matched = 0
        self._in_transit = 0
        self._unmatched_in_transit = 0
        self._seen: Counter[FindingClass] = Counter()
        self._changes: Counter[int] = Counter()
        self._ledger: Counter[str] = Counter()
        self._remote: Counter[str] = Counter()

    def add(self, compared: Comparison) -> None:
        """Count the result of comparing a payment."""
        self._matched += compared.matched
        self._in_transit += compared.in_transit
        _add(self._ledger, compared.ledger_total)
        _add(self._remote, compared.remote_total)

    def add_unmatched(self, currency: str, amount: int, *, matched: bool, in_transit: bool) -> None:
        """Count a record that belongs to no payment."""
        self._matched += matched
        self._in_transit += in_transit
        self._unmatched_in_transit += in_transit
        self._remote[currency] += amount

    def see(self, kind: FindingClass) -> None:
        """Count a discrepancy, new or not."""
        self._seen[kind] += 1

    def change(self, content: bytes) -> None:
        """Count a finding that has changed, by its message."""
        finding = finding_pb2.Finding.FromString(content)
        self._changes[FindingState.OPEN if finding.version == 1 else int(finding.state)] += 1

    def fill(self, run: pb.Run) -> None:
        """Write all counts into a run's message."""
        run.stage = self.stage
        run.fetched_count = self.fetched
        run.matched_count = self._matched
        run.in_transit_count = self._in_transit
        run.unmatched_in_transit_count = self._unmatched_in_transit
        run.problem = self.problem
        run.opened_count = self._changes[FindingState.OPEN]
        run.reopened_count = self._changes[FindingState.REOPENED]
        run.resolved_count = self._changes[FindingState.AUTO_RESOLVED]
        del run.classes[:]
        for kind in sorted(self._seen):
            run.classes.add(finding_class=int(kind), seen=self._seen[kind])
        del run.totals[:]
        for currency in sorted(self._ledger.keys() | self._remote.keys()):
            run.totals.add(
                currency_code=currency,
                ledger_minor=self._ledger[currency],
                provider_minor=self._remote[currency],
            )


def _add(totals: Counter[str], more: Mapping[str, int]) -> None:
    for currency, amount in more.items():
        totals[currency] += amount
