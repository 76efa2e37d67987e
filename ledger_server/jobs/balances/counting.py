"""Owns the counts of a comparison of balances, and their message."""

from collections import Counter
from typing import Final

from defter.reconciliation.v1 import finding_pb2
from defter.reconciliation.v1 import reconciliation_pb2 as pb

from ledger_server.domain.findings.discrepancy import FindingClass
from ledger_server.domain.findings.finding import FindingState
from ledger_server.domain.reconciliation.balance_comparison import ComparedBalances, DriftKind

MOST_MINOR: Final = 2**63 - 1
"""What the contract's numbers hold; a sum over millions of accounts may be more, and is told as this."""


class Counts:
    """What a comparison has counted so far."""

    def __init__(self) -> None:
        self.untold = 0
        self.opened = 0
        self._lines = 0
        self._equal = 0
        self._kinds: Counter[DriftKind] = Counter()
        self._changes: Counter[int] = Counter()
        self._signed: Counter[str] = Counter()
        self._absolute: Counter[str] = Counter()

    def add(self, compared: ComparedBalances, lines: int) -> None:
        """Count a stretch, and how many lines the snapshot has of it."""
        self._lines += lines
        self._equal += len(compared.equal)
        for drift in compared.drifts:
            self._kinds[drift.kind] += 1
            self._signed[drift.currency] += drift.difference
            self._absolute[drift.currency] += abs(drift.difference)

    def change(self, content: bytes) -> None:
        """Count a finding that has changed, by its message."""
        finding = finding_pb2.Finding.FromString(content)
        self._changes[FindingState.OPEN if finding.version == 1 else int(finding.state)] += 1

    def fill(self, run: pb.Run) -> None:
        """Write all counts into a run's message."""
        told = run.comparison
        told.line_count = run.fetched_count = self._lines
        told.equal_count = run.matched_count = self._equal
        told.drifted_count = self._kinds[DriftKind.DRIFTED]
        told.missing_here_count = self._kinds[DriftKind.MISSING_HERE]
        told.missing_there_count = self._kinds[DriftKind.MISSING_THERE]
        told.untold_count = self.untold
        run.opened_count = self._changes[FindingState.OPEN]
        run.reopened_count = self._changes[FindingState.REOPENED]
        run.resolved_count = self._changes[FindingState.AUTO_RESOLVED]
        del run.classes[:]
        if seen := self._kinds.total():
            run.classes.add(finding_class=int(FindingClass.BALANCE_DRIFT), seen=seen)
        del told.drifts[:]
        for currency in sorted(self._absolute):
            told.drifts.add(
                currency_code=currency,
                difference_minor=max(-MOST_MINOR, min(self._signed[currency], MOST_MINOR)),
                absolute_minor=min(self._absolute[currency], MOST_MINOR),
            )
