"""Owns the life of a finding: its states, the steps between them, and what each step needs."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from ledger_server.domain.code import Code
from ledger_server.domain.findings.discrepancy import Discrepancy, FindingClass, Severity


class FindingState(Code):
    """Where a finding stands."""

    OPEN = 1
    ACKNOWLEDGED = 2
    RESOLVED = 3
    AUTO_RESOLVED = 4
    REOPENED = 5


STEPS: Final[Mapping[FindingState, frozenset[FindingState]]] = {
    FindingState.OPEN: frozenset(
        {FindingState.ACKNOWLEDGED, FindingState.RESOLVED, FindingState.AUTO_RESOLVED}
    ),
    # Acknowledged again: somebody else looks after it.
    FindingState.ACKNOWLEDGED: frozenset(
        {FindingState.ACKNOWLEDGED, FindingState.RESOLVED, FindingState.AUTO_RESOLVED}
    ),
    FindingState.RESOLVED: frozenset({FindingState.REOPENED}),
    FindingState.AUTO_RESOLVED: frozenset({FindingState.REOPENED}),
    FindingState.REOPENED: frozenset(
        {FindingState.ACKNOWLEDGED, FindingState.RESOLVED, FindingState.AUTO_RESOLVED}
    ),
}
"""Which states may follow which; `docs/operations/reconciliation.md` draws it."""


UNRESOLVED: Final = frozenset({FindingState.OPEN, FindingState.ACKNOWLEDGED, FindingState.REOPENED})
"""The states in which something is still to be done."""


class Resolution(Code):
    """Why somebody resolved a finding."""

    NONE = 0
    PROVIDER_ERROR = 1
    LEDGER_CORRECTED = 2
    TIMING = 3
    WRITTEN_OFF = 4
    DUPLICATE_OF = 5
    ACCEPTED_DIFFERENCE = 6
    FRAUD = 7


class Source(Code):
    """Who saw a discrepancy."""

    PAYMENT = 1
    PARKED_EVENT = 2
    RUN = 3
    SETTLEMENT_REPORT = 4
    COMPARISON = 5


class Finding(Struct, frozen=True, kw_only=True):
    """One discrepancy and its life. `actor` is empty for the ledger itself; `run` is of the latest change."""

    fingerprint: bytes
    seen: Discrepancy
    state: FindingState
    version: int
    severity: Severity
    source: Source
    assignee: str
    resolution: Resolution
    note: str
    actor: str
    correction: str
    duplicate_of: str
    run: int | None
    open_time: datetime
    update_time: datetime

    @property
    def kind(self) -> FindingClass:
        """Its class."""
        return self.seen.kind

    def may_become(self, state: FindingState) -> bool:
        """Whether that step is in the table."""
        return state in STEPS[self.state]


def seen(
    known: Finding | None,
    discrepancy: Discrepancy,
    now: datetime,
    *,
    source: Source,
    run: int | None = None,
) -> Finding | None:
    """Return the finding after its discrepancy was seen; None if that changes nothing.

    A finding that a person resolved stays resolved while the facts are the same; one that had resolved itself
    is open again. Only the assignee is kept from the change before: its note and reason were not about these
    facts.
    """
    if known is None:
        return Finding(
            fingerprint=discrepancy.fingerprint,
            seen=discrepancy,
            state=FindingState.OPEN,
            version=1,
            severity=discrepancy.severity,
            source=source,
            run=run,
            open_time=now,
            update_time=now,
            assignee="",
            resolution=Resolution.NONE,
            note="",
            actor="",
            correction="",
            duplicate_of="",
        )
    same = known.seen.says_the_same(discrepancy)
    back = known.state is FindingState.AUTO_RESOLVED or (known.state is FindingState.RESOLVED and not same)
    if same and not back:
        return None
    after = changed(known, FindingState.REOPENED if back else known.state, now, run=run)
    return replace(after, seen=discrepancy, severity=discrepancy.severity, source=source)


def changed(
    finding: Finding,
    state: FindingState,
    now: datetime,
    *,
    actor: str = "",
    note: str = "",
    assignee: str | None = None,
    resolution: Resolution = Resolution.NONE,
    correction: str = "",
    duplicate_of: str = "",
    run: int | None = None,
) -> Finding:
    """Return the finding after a step; the caller has checked `may_become`."""
    return replace(
        finding,
        state=state,
        version=finding.version + 1,
        assignee=finding.assignee if assignee is None else assignee,
        resolution=resolution,
        note=note,
        actor=actor,
        correction=correction,
        duplicate_of=duplicate_of,
        run=run,
        update_time=now,
    )
