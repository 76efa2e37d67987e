"""Owns the single entry to all decisions: from (working set, command, now) to all the facts that follow.

For every command, a refusal is a fact, discrepancies become findings right after the fact that shows them,
and the money of continued accounts moves on. The caller applies the facts in order, all or none.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Final, cast, get_args

from msgspec import Struct

from ledger_server.domain.adjustments.commands import AdjustmentCommand
from ledger_server.domain.decisions.adjustments import decide_adjustment
from ledger_server.domain.decisions.continuation import carry
from ledger_server.domain.decisions.findings import decide_finding, resolve, see
from ledger_server.domain.decisions.ledger import decide_ledger, reject
from ledger_server.domain.decisions.payments.booking import Booking, booking
from ledger_server.domain.decisions.payments.decide import decide_payment, store_undecided
from ledger_server.domain.errors import Rejected
from ledger_server.domain.findings.commands import AnyFindingCommand
from ledger_server.domain.findings.discrepancy import Discrepancy
from ledger_server.domain.findings.finding import Source
from ledger_server.domain.payments.commands import IngestEvent, PaymentCommand
from ledger_server.domain.state.commands import Command, ExpireHolds
from ledger_server.domain.state.facts import (
    AccountChanged,
    AccountContinued,
    DepositChanged,
    EventRecorded,
    Fact,
    TransactionPosted,
    WithdrawalChanged,
)
from ledger_server.domain.state.working_set import FindingNotLoaded, WorkingSet


class Decision(Struct, frozen=True):
    """The facts that follow from a command.

    Attributes:
        facts: in the order in which they take effect.
        answer: the index of the fact that answers the caller; None for a report without news.
        fault: an error in a rule, if the report was kept in spite of it.
    """

    facts: tuple[Fact, ...]
    answer: int | None
    fault: Exception | None


NOTHING: Final = Decision((), None, None)
"""No news."""
_PAYMENT_COMMANDS: Final = frozenset(get_args(PaymentCommand))
_FINDING_COMMANDS: Final = frozenset(get_args(AnyFindingCommand))
_ADJUSTMENT_COMMANDS: Final = frozenset(get_args(AdjustmentCommand))
_ALONE: Final = frozenset({TransactionPosted, AccountChanged})
"""The most frequent facts of the ledger; nothing follows from them, so nothing is looked for."""


def decide(working_set: WorkingSet, command: Command, now: datetime) -> Decision:
    """Decide one command; nothing is changed.

    Args:
        working_set: holds an entry for everything that the command names; holds that are due on the
            accounts it touches have expired already.
        now: the record time of the facts.
    Raises:
        FindingNotLoaded: to be loaded, and the command decided again.
        Exception: a rule is at fault.
    """
    # One look-up per command instead of a walk through a union, since postings come by the thousand.
    kind = type(command)
    try:
        if kind in _PAYMENT_COMMANDS:
            return _decide_payment(working_set, cast("PaymentCommand", command), now)
        if kind in _FINDING_COMMANDS:
            changed = decide_finding(working_set, cast("AnyFindingCommand", command), now)
            return NOTHING if changed is None else Decision((changed,), 0, None)
        if kind in _ADJUSTMENT_COMMANDS:
            # No account that an adjustment may move has a successor, so nothing follows.
            facts = decide_adjustment(working_set, cast("AdjustmentCommand", command), now)
            return Decision(facts, len(facts) - 1, None)
        if kind is ExpireHolds:
            return NOTHING  # holds that are due on the accounts it names have expired before it is decided
        fact = decide_ledger(working_set, command, now)
    except Rejected as rejected:
        return Decision((reject(rejected),), 0, None)
    if type(fact) in _ALONE:
        return Decision((fact,), 0, None)
    return Decision((fact, *_consequences(working_set, (fact,), now)), 0, None)


def _decide_payment(working_set: WorkingSet, command: PaymentCommand, now: datetime) -> Decision:
    """Decide a command that has several facts, of which the last one answers."""
    fault: Exception | None = None
    try:
        facts = decide_payment(working_set, command, now)
        if not facts:
            return NOTHING
        behind = _consequences(working_set, facts, now)
    except (Rejected, FindingNotLoaded):
        raise
    except Exception as error:
        if not isinstance(command, IngestEvent):
            raise
        # A report from outside is kept even if its booking fails.
        facts, behind = store_undecided(working_set, command, now), ()
        fault = error
    return Decision((*facts, *behind), len(facts) - 1, fault)


def _consequences(working_set: WorkingSet, facts: tuple[Fact, ...], now: datetime) -> tuple[Fact, ...]:
    """Return the facts behind these: findings that open or resolve, and money that moves to successors."""
    found = _discrepancies(facts)
    mended = [each for fact in facts if isinstance(fact, EventRecorded) for each in fact.mended]
    continued = _continued(facts)
    if not (found or mended or continued):
        return ()
    with booking(working_set, now) as trial:
        for fact in facts:
            trial.add(fact)
        for discrepancy in found:
            _add_news(trial, see(working_set, discrepancy, now, source=Source.PAYMENT))
        for fingerprint in mended:
            _add_news(trial, resolve(working_set, fingerprint, now))
        for account_id in continued:
            _add_news(trial, carry(working_set, account_id, now))
        return tuple(trial.facts[len(facts) :])


def _discrepancies(facts: Iterable[Fact]) -> Iterable[Discrepancy]:
    """Return the discrepancies of changed payments, each once."""
    found = {
        discrepancy.fingerprint: discrepancy
        for fact in facts
        if isinstance(fact, DepositChanged | WithdrawalChanged | EventRecorded)
        for discrepancy in reversed(fact.discrepancies)
    }
    return found.values()


def _continued(facts: Iterable[Fact]) -> Iterable[str]:
    """Return the continued accounts on which these facts may have freed money."""
    left: dict[str, None] = {}
    for fact in facts:
        if isinstance(fact, AccountContinued):
            left[fact.account.account_id] = None
        for line in getattr(fact, "lines", ()):
            if line.account.continued_by:
                left[line.account.account_id] = None
    return left


def _add_news(trial: Booking, fact: Fact | None) -> None:
    if fact is not None:
        trial.add(fact)
