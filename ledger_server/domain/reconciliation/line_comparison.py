"""Owns the judgement on a line of the ledger and its listed counterpart: both agree, differ, or one lacks."""

from collections.abc import Sequence
from datetime import timedelta

from ledger_server.domain.findings.discrepancy import FindingClass
from ledger_server.domain.provider_record import ProviderRecord, ProviderRecordKind, RemoteState
from ledger_server.domain.reconciliation.comparison import PaymentComparison
from ledger_server.domain.reconciliation.ledger_side import Booked, Moved
from ledger_server.domain.reconciliation.matching import Again, Claims, Pair
from ledger_server.domain.reconciliation.provider_side import UNFINISHED, Listed, level_of
from ledger_server.domain.reconciliation.scope import EDGE, Scope


def judge_claims(comparison: PaymentComparison, claims: Claims) -> None:
    """Judge all lines and things of one kind."""
    for pair in claims.pairs:
        _judge_pair(comparison, pair)
    for again in claims.again:
        _judge_again(comparison, again)
    for line in claims.lines:
        _judge_line(comparison, line)
    for thing in claims.things:
        judge_thing(comparison, thing)


def judge_thing(comparison: PaymentComparison, thing: Listed) -> None:
    """Judge a listed thing of this payment that is not in the ledger."""
    inside = comparison.inside(thing.records)
    if not inside:
        return
    if thing.kind is ProviderRecordKind.UNKNOWN:
        text = f"nobody here knows the type {thing.records[-1].provider_type!r}"
        comparison.report(FindingClass.UNKNOWN_RECORD_TYPE, text, None, thing)
    elif _is_nothing(inside):
        # The money came in and went out again within the window.
        return
    elif thing.state is not RemoteState.SUCCEEDED or _all_young(comparison, inside):
        comparison.wait_for(inside)
    elif _other_currency(comparison, thing):
        comparison.report(FindingClass.CURRENCY_MISMATCH, "the currencies differ", None, thing)
    else:
        text = f"{thing.kind.name.lower()} at the provider, not in the ledger"
        comparison.report(FindingClass.MISSING_IN_LEDGER, text, None, thing)


def _judge_line(comparison: PaymentComparison, line: Booked) -> None:
    """Judge a line without a listed counterpart."""
    scope = comparison.scope
    inside = [moved for moved in line.moved if scope.covers(moved.time)]
    if sum(moved.amount for moved in inside) and scope.proves_absence(line.kind):
        if all(moved.time is not None and scope.young(moved.time, line.kind) for moved in inside):
            comparison.wait_for((), len(inside))
        else:
            text = "booked in the ledger, not listed by the provider"
            comparison.report(FindingClass.MISSING_AT_PROVIDER, text, line, None)
    elif line.pending and scope.stale(line.since):
        # The record of the line's end may stand on a page that could not be read.
        if scope.complete:
            comparison.report(FindingClass.STALE_PENDING, "it has not come to an end", line, None)
    elif line.pending and scope.covers(line.since):
        comparison.wait_for((), 1)


def _judge_again(comparison: PaymentComparison, again: Again) -> None:
    """Judge a second thing at the provider, under another id, for one of ours; a failed one is harmless."""
    inside = comparison.inside(again.thing.records)
    if again.thing.stands and inside:
        text = f"done again at the provider for {again.line.our_id}"
        comparison.report(FindingClass.DUPLICATE_AT_PROVIDER, text, again.line, again.thing)
    elif not _is_nothing(inside):
        comparison.wait_for(inside)


def _judge_pair(comparison: PaymentComparison, pair: Pair) -> None:
    line, thing, named = pair
    inside = comparison.inside(thing.records)
    if inside and _other_currency(comparison, thing):
        comparison.report(FindingClass.CURRENCY_MISMATCH, "the currencies differ", line, thing)
    elif inside and not thing.exact:
        text = "the provider's amount has no exact value here"
        comparison.report(FindingClass.AMOUNT_MISMATCH, text, line, thing)
    elif line.waiting:
        # The line will be booked together with the capture; a missing capture is a discrepancy of its own.
        comparison.wait_for(inside)
    elif line.kind is ProviderRecordKind.DISPUTE:
        _judge_movements(comparison, line, thing)
    elif named or thing.level.taken >= line.level.taken or _read_wholly(comparison, line):
        _judge_amounts(comparison, line, thing, named=named)
        _judge_standing(comparison, line, thing)


def _judge_amounts(comparison: PaymentComparison, line: Booked, thing: Listed, *, named: bool) -> None:
    """Judge whether both sides have taken the same amount.

    The ledger keeps only the last time at which money was taken or given back. So amounts are compared and
    not counts of movements; for a whole, the amount that stands.
    """
    scope, ours, theirs = comparison.scope, line.level, thing.level
    booked, listed = (ours.taken, theirs.taken) if named else (ours.standing, theirs.standing)
    dated = any(scope.covers(moved.time) for moved in line.moved) or comparison.inside(thing.records)
    if not booked or not listed or booked == listed or not dated:
        return
    if not scope.proves_absence(line.kind) and booked in (
        abs(record.amount or 0) for record in thing.records
    ):
        # The money was taken twice, or came back in between by a movement that was not read.
        return
    young = [record for record in thing.records if scope.young(record.create_time, thing.kind)]
    heard = [record.amount or 0 for record in thing.records if record not in young]
    if listed > booked and level_of(thing.kind, heard).standing == ours.standing:
        comparison.wait_for(young)
    else:
        comparison.report(FindingClass.AMOUNT_MISMATCH, "the amounts differ", line, thing)


def _read_wholly(comparison: PaymentComparison, line: Booked) -> bool:
    """Whether all parts of a payment must be among the records that were read.

    The provider may say that a movement happened up to `EDGE` earlier or later than the ledger does. What
    lies in the window itself was read in any case; of what lies around it nobody knows.
    """
    scope = comparison.scope
    return (
        scope.proves_absence(line.kind) and scope.covers(line.since) and scope.covers(line.time or line.since)
    )


def _judge_standing(comparison: PaymentComparison, line: Booked, thing: Listed) -> None:
    """Judge whether both sides agree that the money stands; a difference has the time of the later news."""
    scope, inside = comparison.scope, comparison.inside(thing.records)
    here, there = line.level.standing > 0, thing.level.standing > 0
    if thing.state in UNFINISHED:
        agreed = line.pending
    else:
        # A later run judges what has happened after the window.
        agreed = here in (there, thing.state is RemoteState.SUCCEEDED)
    if line.pending and scope.stale(line.since) and agreed:
        comparison.report(FindingClass.STALE_PENDING, "the ledger waits for its end", line, thing)
    elif agreed:
        if thing.state in UNFINISHED or (here != there and not line.moved):
            # The money is under way, or it went out and is coming back.
            comparison.wait_for(inside)
    else:
        moment = thing.time if line.time is None else max(line.time, thing.time)
        # A missing record proves nothing unless the listing was read completely.
        proven = moment == thing.time or thing.state in UNFINISHED or scope.proves_absence(line.kind)
        if not scope.covers(moment) or not proven:
            return
        if scope.young(moment, line.kind):
            _, unheard = _unmatched(scope, line.moved, inside)
            young = [record for record in unheard if scope.young(record.create_time, record.kind)]
            comparison.wait_for(young, 0 if young else 1)
        else:
            text = f"{line.state} in the ledger, {thing.state.name.lower()} at the provider"
            comparison.report(FindingClass.STATUS_MISMATCH, text, line, thing)


def _judge_movements(comparison: PaymentComparison, line: Booked, thing: Listed) -> None:
    """Judge a dispute movement by movement, since it may move money several times."""
    scope = comparison.scope
    booked, listed = _unmatched(scope, line.moved, thing.records)
    booked_inside = [moved for moved in booked if scope.covers(moved.time)]
    listed_inside = [] if _is_nothing(listed) else comparison.inside(listed)
    text = f"{line.state} in the ledger, {thing.state.name.lower()} at the provider"
    if any(_near(moved, record) for moved in booked_inside for record in listed) or any(
        _near(moved, record) for moved in booked for record in listed_inside
    ):
        comparison.report(FindingClass.AMOUNT_MISMATCH, "the amounts differ", line, thing)
    elif listed_inside:
        if _all_young(comparison, listed_inside):
            comparison.wait_for(listed_inside)
        else:
            comparison.report(FindingClass.STATUS_MISMATCH, text, line, thing)
    elif sum(moved.amount for moved in booked_inside) and scope.proves_absence(line.kind):
        if all(moved.time is not None and scope.young(moved.time, line.kind) for moved in booked_inside):
            comparison.wait_for((), len(booked_inside))
        else:
            comparison.report(FindingClass.STATUS_MISMATCH, text, line, thing)


def _unmatched(
    scope: Scope, booked: Sequence[Moved], records: Sequence[ProviderRecord]
) -> tuple[list[Moved], list[ProviderRecord]]:
    """Return the movements without a counterpart of the same amount; they are paired one to one, by time."""
    ours, theirs = list(booked), list(records)
    same = []
    for mine, moved in enumerate(booked):
        # A movement outside the window has its record there too; a movement without a time may be any that is
        # left.
        if moved.time is None or scope.reads(moved.time):
            for other, record in enumerate(records):
                if moved.amount == record.amount:
                    apart = timedelta.max if moved.time is None else abs(record.create_time - moved.time)
                    same.append((apart, mine, other))
    for _, mine, other in sorted(same):
        if booked[mine] in ours and records[other] in theirs:
            ours.remove(booked[mine])
            theirs.remove(records[other])
    return ours, theirs


def _near(moved: Moved, record: ProviderRecord) -> bool:
    """Whether both move money in the same direction, at times as close as two clocks are."""
    if moved.time is None or record.amount is None or (moved.amount < 0) != (record.amount < 0):
        return False
    return abs(record.create_time - moved.time) <= EDGE


def _is_nothing(records: Sequence[ProviderRecord]) -> bool:
    amounts = [record.amount for record in records]
    return None not in amounts and sum(amount or 0 for amount in amounts) == 0


def _all_young(comparison: PaymentComparison, records: Sequence[ProviderRecord]) -> bool:
    return all(comparison.scope.young(record.create_time, record.kind) for record in records)


def _other_currency(comparison: PaymentComparison, thing: Listed) -> bool:
    return any(record.currency != comparison.payment.currency for record in thing.records)
