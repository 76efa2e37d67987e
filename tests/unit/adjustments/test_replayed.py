"""Any history of adjustments is verified, and one that somebody has altered is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, Final

import pytest
from defter.ledger.v1 import adjustment_pb2, journal_pb2
from hypothesis import given
from hypothesis import strategies as st

from ledger_server.domain.adjustments.adjustment import AdjustmentPolicy
from ledger_server.domain.adjustments.commands import (
    ApproveAdjustment,
    CancelAdjustment,
    RejectAdjustment,
    RequestAdjustment,
    SetAdjustmentPolicy,
)
from ledger_server.domain.decisions.decide import decide
from ledger_server.domain.decisions.replay import Inconsistent, Replay
from ledger_server.domain.ids import TenantId, TenantIds, tenant_key
from ledger_server.domain.ledger.accounts import AccountKind, AccountState, Direction, Limits
from ledger_server.domain.ledger.transactions import NewPosting
from ledger_server.domain.state.commands import Command, Enforcement, OpenAccount, SetAccountState
from ledger_server.domain.state.facts import EnforcementChanged, Fact, FactKind
from ledger_server.domain.state.working_set import AccountEntry, AdjustmentEntry, WorkingSet
from ledger_server.engine.records.journal import RecordEncoder
from ledger_server.engine.verification.reenact import reenact
from tests.unit.books import NOW

KEY: Final = tenant_key(TenantId("unit"))
PEOPLE: Final = ("ada", "grace", "joan")


class History:
    """A tenant's records, one decision after the other."""

    def __init__(self) -> None:
        self.ids = TenantIds(KEY)
        self.now = NOW
        self.state = WorkingSet(
            self.ids, sequence=0, record_time=NOW, enforcement=Enforcement.ENFORCED, create_time=NOW
        )
        self.encoder = RecordEncoder("unit", self.ids)
        self.records: list[journal_pb2.JournalRecord] = []
        self.adjustments: list[int] = []
        self._add(EnforcementChanged(FactKind.TENANT_CREATED, Enforcement.ENFORCED, NOW, switch=None))
        for name, kind, lowest in (
            ("house", AccountKind.ASSET, None),
            ("ann", AccountKind.LIABILITY, 0),
            ("bob", AccountKind.LIABILITY, 0),
        ):
            self.state.accounts[name] = AccountEntry(None)
            limits = Limits(min_available=lowest, max_balance=None)
            self.decide(OpenAccount(account_id=name, kind=kind, currency="EUR", limits=limits, metadata={}))

    def decide(self, command: Command) -> Fact:
        """Decide a command, record what follows, and return the answer."""
        self.now += timedelta(seconds=1)
        decision = decide(self.state, command, self.now)
        for fact in decision.facts:
            self._add(fact)
        assert decision.answer is not None
        return decision.facts[decision.answer]

    def request(self, amount: int, actor: str = "ada", *, debit: str = "house", credit: str = "ann") -> int:
        """Ask for an adjustment and return its number."""
        postings = (
            NewPosting(debit, Direction.DEBIT, amount, "EUR"),
            NewPosting(credit, Direction.CREDIT, amount, "EUR"),
        )
        fact = self.decide(
            RequestAdjustment(
                postings=postings,
                reason="goodwill",
                description="",
                reference="case 7",
                effective_time=None,
                metadata={"ticket": "7"},
                actor=actor,
                identity="",
            )
        )
        if fact.kind is not FactKind.ADJUSTMENT_CHANGED:
            return 0
        number: int = fact.adjustment.number  # type: ignore[union-attr]  # of that kind
        self.adjustments.append(number)
        return number

    def approve(self, number: int, reviewer: str = "grace") -> Fact:
        """Approve one."""
        return self.decide(ApproveAdjustment(**self.step(number), reviewer=reviewer, note="", identity=""))

    def step(self, number: int) -> dict[str, Any]:
        """Return what all steps share; a number of nobody is known to be none."""
        self.state.adjustments.setdefault(number, AdjustmentEntry(None))
        return {"adjustment_id": self.ids.adjustment_id(number), "number": number, "expected": None}

    def _add(self, fact: Fact) -> None:
        self.state.apply(fact)
        _, record = self.encoder.encode(
            fact,
            sequence=self.state.sequence,
            record_time=self.now,
            request=None,
            digest=None,
            caller=None,
        )
        self.records.append(journal_pb2.JournalRecord.FromString(record))


def verify(records: list[journal_pb2.JournalRecord]) -> Replay:
    """Decide all records again, and require that the same ones follow."""
    ids = TenantIds(KEY)
    replay, encoder = Replay(ids), RecordEncoder("unit", ids)
    for sequence, record in enumerate(records, 1):
        now = record.record_time.ToDatetime(NOW.tzinfo)
        fact = reenact(replay, ids, record, now, None)
        _, again = encoder.encode(
            fact, sequence=sequence, record_time=now, request=None, digest=None, caller=None
        )
        if again != record.SerializeToString(deterministic=True):
            raise Inconsistent(f"record {sequence} is another one")
    if replay.awaits_adjustment:
        raise Inconsistent("a record is missing")
    return replay


people = st.sampled_from(PEOPLE)
STEPS: Final = st.one_of(
    st.tuples(st.just("request"), st.integers(1, 60), people, st.booleans()),
    st.tuples(st.just("approve"), st.integers(0, 4), people),
    st.tuples(st.just("approve"), st.integers(0, 4), people),
    st.tuples(st.just("reject"), st.integers(0, 4), people),
    st.tuples(st.just("cancel"), st.integers(0, 4), people),
    st.tuples(st.just("policy"), st.sampled_from((None, 1, 20, 50))),
    st.tuples(st.just("state"), st.sampled_from((AccountState.FROZEN, AccountState.OPEN))),
)


@given(st.lists(STEPS, max_size=30))
def test_any_history_is_verified(steps: list[tuple[Any, ...]]) -> None:
    """Whatever is asked in whatever order, every record is decided again as it was."""
    history = History()
    for kind, *words in steps:
        number = (
            history.adjustments[-1 - words[0] % len(history.adjustments)]
            if (kind in {"approve", "reject", "cancel"} and history.adjustments)
            else 999
        )
        match kind:
            case "request":
                amount, actor, lowers = words
                debit, credit = ("ann", "house") if lowers else ("house", "ann")
                history.request(amount, actor, debit=debit, credit=credit)
            case "approve":
                history.approve(number, words[1])
            case "reject":
                history.decide(RejectAdjustment(**history.step(number), reviewer=words[1], reason="no"))
            case "cancel":
                history.decide(CancelAdjustment(**history.step(number), actor=words[1], reason=""))
            case "policy":
                amounts = {} if words[0] is None else {"EUR": words[0]}
                history.decide(SetAdjustmentPolicy(policy=AdjustmentPolicy(second_review_from=amounts)))
            case _:
                history.decide(SetAccountState(account_id="ann", state=words[0], note=""))

    replay = verify(history.records)

    assert set(replay.adjustments) == set(history.adjustments)
    assert replay.adjustment_policy == history.state.adjustment_policy


def a_history() -> History:
    """Return one with an adjustment that waits, one that was approved, and one posted at once."""
    history = History()
    history.request(70)
    history.approve(history.request(50))
    history.decide(SetAdjustmentPolicy(policy=AdjustmentPolicy(second_review_from={"EUR": 10})))
    history.request(9)
    return history


def changes(history: History) -> Iterator[adjustment_pb2.Adjustment]:
    """Yield the adjustments in the records."""
    return (each.adjustment_changed for each in history.records if each.HasField("adjustment_changed"))


def approved_change(history: History) -> adjustment_pb2.Adjustment:
    """Return the adjustment in the record of the approval."""
    return next(each for each in changes(history) if each.approvals)


Tamper = Callable[[History], None]


def by_who_asked(history: History) -> None:
    """Let the approval be of who asked."""
    approved_change(history).approvals[0].reviewer = "ada"


def without_approval(history: History) -> None:
    """Take the approval away."""
    del approved_change(history).approvals[:]


def larger(history: History) -> None:
    """Let what was asked for be more than it was."""
    for posting in approved_change(history).postings:
        posting.amount_minor += 1


def other_transaction(history: History) -> None:
    """Name another transaction."""
    approved_change(history).transaction_id = history.ids.transaction_id(5)


def no_policy(history: History) -> None:
    """Take the policy away by which the last one was posted at once."""
    [record] = [each for each in history.records if each.HasField("adjustment_policy_set")]
    record.adjustment_policy_set.ClearField("second_review_from_minor")


def nameless_transaction(history: History) -> None:
    """Let the transaction name no adjustment."""
    next(
        each for each in history.records if each.transaction_posted.adjustment_id
    ).transaction_posted.ClearField("adjustment_id")


def transaction_of_other(history: History) -> None:
    """Let the transaction name another adjustment."""
    posted = next(each for each in history.records if each.transaction_posted.adjustment_id)
    posted.transaction_posted.adjustment_id = history.ids.adjustment_id(5)


def other_reference(history: History) -> None:
    """Let the transaction have another reference."""
    posted = next(each for each in history.records if each.transaction_posted.adjustment_id)
    posted.transaction_posted.reference = "case 8"


def without_end(history: History) -> None:
    """Cut the journal behind a transaction."""
    del history.records[-1]


def rejected_and_posted(history: History) -> None:
    """Let one that was posted be rejected."""
    approved_change(history).rejected_by = "eve"


def other_totals(history: History) -> None:
    """Let the totals be others than the sums."""
    next(changes(history)).totals[0].amount_minor += 1


@pytest.mark.parametrize(
    "tamper",
    [
        by_who_asked,
        without_approval,
        larger,
        other_transaction,
        no_policy,
        nameless_transaction,
        transaction_of_other,
        other_reference,
        without_end,
        rejected_and_posted,
        other_totals,
    ],
    ids=lambda tamper: tamper.__name__,
)
def test_altered_history_is_not_verified(tamper: Tamper) -> None:
    """Money that one person has moved alone is found, whatever was altered to hide it."""
    history = a_history()
    verify(history.records)

    tamper(history)

    with pytest.raises(Inconsistent):
        verify(history.records)


def test_transaction_of_an_adjustment_stands_right_before_it() -> None:
    """Nothing comes between the two, so no reader sees one without the other."""
    history = a_history()
    kinds = [each.WhichOneof("fact") for each in history.records]
    places = [at for at, each in enumerate(history.records) if each.transaction_posted.adjustment_id]

    assert [kinds[at + 1] for at in places] == ["adjustment_changed"] * 2
    moved: datetime = history.now
    assert moved > NOW
