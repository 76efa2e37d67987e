"""Random sightings and steps against a model that knows the contract alone."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from ledger_server.domain.decisions.findings import decide_finding
from ledger_server.domain.errors import Rejected
from ledger_server.domain.findings.commands import (
    AcknowledgeFinding,
    AnyFindingCommand,
    FindingCommand,
    ReopenFinding,
    ReportDiscrepancy,
    ResolveFinding,
    ResolveUnseen,
)
from ledger_server.domain.findings.finding import Resolution, Source
from ledger_server.domain.ids import TenantId, TenantIds, finding_id, tenant_key
from ledger_server.domain.state.commands import Enforcement
from ledger_server.domain.state.working_set import FindingEntry, PostedEntry, WorkingSet
from tests.support.findings import NOON, by_hand, later, of_ref
from tests.support.randomness import SEED

REFS = ("pi_1", "pi_2", "pi_3")
FINGERPRINTS = {ref: of_ref(ref).fingerprint for ref in REFS}
IDS = TenantIds(tenant_key(TenantId("unit")))
# One of these was posted.
POSTED, NOT_POSTED = IDS.transaction_id(7), IDS.transaction_id(8)
CLOSED = ("RESOLVED", "AUTO_RESOLVED")


@dataclass
class Story:
    """What the contract says of one finding: where it stands, the facts then, and each change since."""

    state: str
    facts: int
    assignee: str = ""
    told: list[str] = field(default_factory=lambda: ["OPEN"])

    @property
    def version(self) -> int:
        """One more with every change."""
        return len(self.told)

    def become(self, state: str) -> str:
        """Take one more step."""
        self.state = state
        self.told.append(state)
        return state


class Lives(RuleBasedStateMachine):
    """Three things that may be wrong, each with one of three facts."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.working_set = WorkingSet(
            IDS, sequence=100, record_time=NOON, enforcement=Enforcement.ENFORCED, create_time=NOON
        )
        self.working_set.findings = defaultdict(lambda: FindingEntry(None))
        self.working_set.transactions = {7: PostedEntry(()), 8: PostedEntry(None)}
        self.stories: dict[str, Story] = {}
        self.record_count = 0

    @rule(ref=st.sampled_from(REFS), facts=st.integers(0, 2), run=st.sampled_from((None, 1)))
    def report(self, ref: str, facts: int, run: int | None) -> None:
        """Something is seen, for the first time or again."""
        discrepancy = later(of_ref(ref), facts)
        told = self._do(ReportDiscrepancy(discrepancy=discrepancy, source=Source.RUN, run=run))
        story = self.stories.get(ref)
        if story is None:
            self.stories[ref] = Story("OPEN", facts)
            assert told == "OPEN"
            return
        accepted = story.state == "RESOLVED" and facts == story.facts
        if accepted or (story.state not in CLOSED and facts == story.facts):
            assert told is None
            return
        story.facts = facts
        assert told == story.become("REOPENED" if story.state in CLOSED else story.state)

    @rule(ref=st.sampled_from(REFS), missed=st.sampled_from((0, 0, 1)))
    def miss(self, ref: str, missed: int) -> None:
        """A complete run does not see it any more; it may have changed since the run began."""
        story = self.stories.get(ref)
        version = (story.version if story else 1) - missed
        told = self._do(ResolveUnseen(fingerprint=FINGERPRINTS[ref], version=version, run=2))
        if story is None or missed or story.state in CLOSED:
            assert told is None
        else:
            assert told == story.become("AUTO_RESOLVED")

    @rule(ref=st.sampled_from(REFS), stale=st.sampled_from((0, 0, 0, 1)), assignee=st.sampled_from("ab"))
    def acknowledge(self, ref: str, stale: int, assignee: str) -> None:
        """Somebody looks after it."""
        if self._step(AcknowledgeFinding, ref, stale, assignee=assignee) == "ACKNOWLEDGED":
            self.stories[ref].assignee = assignee

    @rule(
        ref=st.sampled_from(REFS),
        stale=st.sampled_from((0, 0, 0, 1)),
        correction=st.sampled_from(("", "", POSTED, NOT_POSTED)),
        other=st.sampled_from(("", "", "pi_1", "pi_2")),
    )
    def resolve(self, ref: str, stale: int, correction: str, other: str) -> None:
        """Somebody says that it is none, maybe since something else put it right or is about the same."""
        duplicate_of = finding_id(FINGERPRINTS[other]) if other else ""
        reason = Resolution.DUPLICATE_OF if other else Resolution.ACCEPTED_DIFFERENCE
        self._step(
            ResolveFinding,
            ref,
            stale,
            resolution=reason,
            correction=correction,
            duplicate_of=duplicate_of,
        )

    @rule(ref=st.sampled_from(REFS), stale=st.sampled_from((0, 0, 0, 1)))
    def reopen(self, ref: str, stale: int) -> None:
        """Somebody takes it up again."""
        self._step(ReopenFinding, ref, stale)

    @invariant()
    def each_finding_is_as_told(self) -> None:
        """State, version and assignee are those of the story, and each change is one record."""
        assert self.working_set.findings.keys() == {FINGERPRINTS[ref] for ref in self.stories}
        for ref, story in self.stories.items():
            found = self.working_set.finding(FINGERPRINTS[ref])
            assert found is not None
            assert (found.state.name, found.version) == (story.state, story.version)
            assert found.assignee == story.assignee
            assert found.seen == later(of_ref(ref), story.facts)
            assert (found.resolution is not Resolution.NONE) == (story.state == "RESOLVED")
            assert found.open_time <= found.update_time <= self.now
        assert self.record_count == sum(story.version for story in self.stories.values())

    def _step(self, kind: type[FindingCommand], ref: str, stale: int, **fields: Any) -> str | None:
        """Ask for a step by hand, and compare what becomes of it with the contract."""
        story = self.stories.get(ref)
        version = (story.version if story else 1) - stale
        told = self._do(by_hand(kind, FINGERPRINTS[ref], version, **fields))
        duplicate_of = fields.get("duplicate_of", "")
        known = {finding_id(FINGERPRINTS[other]) for other in self.stories}
        step = {AcknowledgeFinding: "ACKNOWLEDGED", ResolveFinding: "RESOLVED", ReopenFinding: "REOPENED"}[
            kind
        ]
        if story is None or (duplicate_of and duplicate_of not in known):
            assert told == "FINDING_NOT_FOUND"
        elif stale:
            assert told == "FINDING_VERSION_MISMATCH"
        elif fields.get("correction") == NOT_POSTED:
            assert told == "TRANSACTION_NOT_FOUND"
        elif (step == "REOPENED") != (story.state in CLOSED):
            assert told == "ILLEGAL_TRANSITION"
        else:
            assert told == story.become(step)
        return told

    def _do(self, command: AnyFindingCommand) -> str | None:
        """Decide a command and let it take effect; return the new state or why it was refused."""
        self.now += timedelta(seconds=1)
        try:
            fact = decide_finding(self.working_set, command, self.now)
        except Rejected as rejected:
            return rejected.reason.name
        if fact is None:
            return None
        self.working_set.apply(fact)
        self.record_count += 1
        assert fact.finding.update_time == self.now
        return fact.finding.state.name


def test_live_through_random_sightings_and_steps_follows_contract() -> None:
    """Accepted facts stay accepted, other facts reopen, what resolved itself is back when it is seen."""
    run_state_machine_as_test(
        seed(SEED)(Lives),
        settings=settings(
            max_examples=200,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
