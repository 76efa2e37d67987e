"""Owns what happened to a deposit, in the order in which it happened, as the ledger has it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from console.catalogue import N_
from console.formats import moment_of
from defter_client import messages as m

_LAST: Final = datetime.max.replace(tzinfo=UTC)
_TOLD: Final = {
    m.PROVIDER_EVENT_TYPE_PAYMENT_AUTHORIZED: N_("reserved by the provider"),
    m.PROVIDER_EVENT_TYPE_PAYMENT_ATTEMPT_FAILED: N_("one try of the player failed"),
    m.PROVIDER_EVENT_TYPE_REFUND_PENDING: N_("refund begun at the provider"),
    m.PROVIDER_EVENT_TYPE_DISPUTE_OPENED: N_("dispute opened or going on"),
    m.PROVIDER_EVENT_TYPE_DISPUTE_WON: N_("dispute won"),
    m.PROVIDER_EVENT_TYPE_DISPUTE_LOST: N_("dispute lost"),
}
"""What a deposit keeps no time of, so that its events tell it."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened.

    Attributes:
        minor: how much it was about; None: no amount is told.
        ref: the provider's id of it.
        event_id: the event that told of it; empty where the deposit itself knows.
    """

    at: Timestamp
    word: str
    minor: int | None = None
    ref: str = ""
    reason: str = ""
    event_id: str = ""


def of_deposit(deposit: m.Deposit, events: Iterable[m.RecordedProviderEvent]) -> list[Step]:
    """Return the steps of a deposit, the earliest first; those without a time stand at the end."""
    found = [*_own(deposit), *_told(events)]
    return sorted(found, key=lambda step: moment_of(step.at) or _LAST)


def _own(deposit: m.Deposit) -> Iterator[Step]:
    yield Step(deposit.initiate_time, N_("asked for"), deposit.amount_minor)
    for attempt in deposit.attempts:
        if attempt.end_time.seconds:
            word = N_("payment ended at the provider")
            yield Step(attempt.end_time, word, ref=attempt.payment_ref, reason=attempt.reason)
    for capture in deposit.captures:
        ref = capture.provider_ref or capture.payment_ref
        if capture.capture_time.seconds:
            yield Step(capture.capture_time, N_("taken by the provider"), capture.amount_minor, ref)
        if capture.fail_time.seconds:
            yield Step(capture.fail_time, N_("what was taken has failed"), capture.amount_minor, ref)
    for refund in deposit.refunds:
        yield from _refund(refund)
    for dispute in deposit.disputes:
        for movement in dispute.movements:
            word = N_("dispute gave money back") if movement.reinstated else N_("dispute took money")
            yield Step(movement.move_time, word, movement.amount_minor, dispute.provider_ref, dispute.reason)
    for fee in deposit.fees:
        yield Step(fee.charge_time, N_("fee kept by the provider"), fee.amount_minor, fee.provider_ref)


def _refund(refund: m.Refund) -> Iterator[Step]:
    objects = [(refund.provider_ref, refund.told_minor, refund.succeed_time, refund.fail_time, refund.reason)]
    objects += [
        (each.provider_ref, each.told_minor, each.succeed_time, each.fail_time, each.reason)
        for each in refund.others
    ]
    for ref, told, succeeded, failed, reason in objects:
        amount = told or refund.amount_minor
        if succeeded.seconds:
            yield Step(succeeded, N_("refund has left"), amount, ref)
        if failed.seconds:
            yield Step(failed, N_("refund refused, or came back"), amount, ref, reason)


def _told(events: Iterable[m.RecordedProviderEvent]) -> Iterator[Step]:
    for each in events:
        word = _TOLD.get(each.event.type)
        if word is not None:
            amount = each.amount_minor if each.HasField("amount_minor") else None
            ref = each.event.object_ref or each.event.payment_ref
            yield Step(
                each.event.occur_time, word, amount, ref, each.event.reason, event_id=each.provider_event_id
            )


def under_refund_minor(deposit: m.Deposit) -> int:
    """Return what refunds amount to that have not ended."""
    return sum(each.amount_minor for each in deposit.refunds if each.state == m.REFUND_STATE_PENDING)


def refundable_minor(deposit: m.Deposit) -> int:
    """Return what is left to refund, as the contract describes it; the ledger decides."""
    gone = deposit.refunded_minor + deposit.disputed_minor + under_refund_minor(deposit)
    return max(0, deposit.captured_minor - gone)
