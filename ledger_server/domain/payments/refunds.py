"""Owns the knowledge of refunds, ours and those made at the provider: object by object."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from msgspec.structs import replace

from ledger_server.domain.payments.captures import captured_by
from ledger_server.domain.payments.knowledge import (
    NO_REFUND_OBJECT,
    CallState,
    Capture,
    Refund,
    RefundObject,
    RefundState,
    later,
)


def with_refund(
    refunds: Sequence[Refund], told: RefundObject, number: int | None, payment_ref: str = ""
) -> tuple[Refund, ...]:
    """Return the refunds with what was told of one object at the provider.

    Args:
        number: of our refund that the object was made for, if the provider echoes our id. The number counts
            before the ref: a second object for the same refund of ours is kept beside the first.
        payment_ref: the provider's payment that is refunded, if that was told.
    """
    known = next((each for each in refunds if number is not None and each.number == number), None)
    if known is None and not told.provider_ref:
        unnamed = [each for each in refunds if _is_unnamed(each)]
        return merged_refunds([*(each for each in refunds if not _is_unnamed(each)), *_paired(unnamed, told)])
    if known is None:
        known = next((each for each in refunds if told.provider_ref in each.refs), None)
    learned = known or Refund(
        number=None,
        provider_ref=told.provider_ref,
        amount=0,
        told=0,
        hold=None,
        call_state=CallState.NONE,
        reason="",
        succeed_time=None,
        fail_time=None,
        others=(),
        hold_ended=False,
        payment_ref="",
    )
    if learned.number is None:
        learned = replace(learned, payment_ref=max(learned.payment_ref, payment_ref))
    others = [each for each in refunds if each is not known]
    return merged_refunds([*others, _with_object(learned, told)])


def answered_refund(refund: Refund, provider_ref: str) -> Refund:
    """Return a refund of ours with the object that its call was answered with, from now on its first one."""
    if not provider_ref or provider_ref == refund.provider_ref:
        return refund
    objects = _objects(refund)
    objects.setdefault(
        provider_ref,
        replace(NO_REFUND_OBJECT, provider_ref=provider_ref),
    )
    first = refund.provider_ref if refund.call_state is CallState.ACCEPTED and refund.provider_ref else ""
    return _of_objects(refund, objects, first or provider_ref)


def merged_refunds(refunds: Iterable[Refund]) -> tuple[Refund, ...]:
    """Return refunds in order: ours as they were asked for, then the provider's own by ref.

    A refund that the provider told of before it was known to be ours is merged with ours: the amount that was
    asked for is kept, and the amount that was told counts.
    """
    every = list(refunds)
    ours = sorted((each for each in every if each.number is not None), key=lambda each: each.number or 0)
    rest: list[Refund] = []
    for refund in every:
        if refund.number is not None:
            continue
        ref = refund.provider_ref
        place = next((at for at, our in enumerate(ours) if ref and ref in our.refs), None)
        if place is None:
            rest.append(refund)
        else:
            ours[place] = _with_object(ours[place], replace(refund.first, told=refund.moved))
    rest.sort(key=_order)
    return (*ours, *rest)


def target_of(captures: Sequence[Capture], refunds: Iterable[Refund], amount: int) -> str:
    """Return the deposit's payment at the provider that a refund is to be made of; empty if none was named.

    Of the payments with enough room it is the one with the least, so that what is left can still be refunded
    as a whole. If none has enough room it is the one with the most, and the provider decides.

    Args:
        refunds: all other refunds, those under way included.
    """
    gone: Counter[str] = Counter()
    for refund in refunds:
        gone[refund.payment_ref] += refund.amount if refund.state is RefundState.PENDING else refund.out
    left = {ref: taken - gone[ref] for ref, taken in captured_by(captures).items() if taken}
    enough = [ref for ref, room in left.items() if room >= amount]
    if enough:
        return min(enough, key=lambda ref: (left[ref], ref))
    return min(left, key=lambda ref: (-left[ref], ref), default="")


def told_of(refunds: Iterable[Refund], payment_ref: str) -> int:
    """Return what leaves by all refunds of a payment; refunds of an unknown payment count too."""
    of = ("", payment_ref)
    return sum(each.moved_by_all for each in refunds if not payment_ref or each.payment_ref in of)


def _order(refund: Refund) -> tuple[str, int, datetime]:
    time = refund.succeed_time or refund.fail_time
    return refund.provider_ref, refund.told, time or datetime.min.replace(tzinfo=UTC)


def _is_unnamed(refund: Refund) -> bool:
    return refund.number is None and not refund.provider_ref


def _paired(refunds: Iterable[Refund], told: RefundObject) -> list[Refund]:
    """Return the unnamed refunds with one more report about one of them.

    Reports without a name differ by amount and time. A failure undoes the latest earlier success of its
    amount that no other failure undoes, whichever was heard first. So a failure never gives back what was not
    taken.
    """
    successes: dict[int, set[datetime]] = {}
    failures: dict[int, dict[datetime, str]] = {}
    for each in (*(refund.first for refund in refunds), told):
        if each.succeed_time is not None:
            successes.setdefault(each.told, set()).add(each.succeed_time)
        if each.fail_time is not None:
            reasons = failures.setdefault(each.told, {})
            reasons[each.fail_time] = max(each.reason, reasons.get(each.fail_time, ""))
    paired = []
    for amount in sorted({*successes, *failures}):
        stands, reasons = sorted(successes.get(amount, ())), failures.get(amount, {})
        for failed in sorted(reasons):
            before = [time for time in stands if time <= failed]
            undone = before[-1] if before else None
            if undone is not None:
                stands.remove(undone)
            paired.append(_unnamed(amount, undone, failed, reasons[failed]))
        paired += [_unnamed(amount, time, None, "") for time in stands]
    return paired


def _unnamed(amount: int, succeeded: datetime | None, failed: datetime | None, reason: str) -> Refund:
    return Refund(
        number=None,
        provider_ref="",
        amount=amount,
        told=amount,
        succeed_time=succeeded,
        fail_time=failed,
        reason=reason,
        hold=None,
        call_state=CallState.NONE,
        others=(),
        hold_ended=False,
        payment_ref="",
    )


def _with_object(refund: Refund, told: RefundObject) -> Refund:
    """Return a refund with what was told of one of its objects."""
    if refund.number is None or not told.provider_ref or refund.provider_ref in ("", told.provider_ref):
        return _of_first(refund, _joined(replace(refund.first, provider_ref=told.provider_ref), told))
    objects = _objects(refund)
    objects[told.provider_ref] = _joined(objects.get(told.provider_ref, told), told)
    # The object that our call was answered with comes first. Until then it is the lowest ref, so that the
    # order of events does not matter.
    answered = refund.call_state is CallState.ACCEPTED
    return _of_objects(refund, objects, refund.provider_ref if answered else min(objects))


def _objects(refund: Refund) -> dict[str, RefundObject]:
    return {each.provider_ref: each for each in (refund.first, *refund.others)}


def _of_objects(refund: Refund, objects: dict[str, RefundObject], first: str) -> Refund:
    """Return a refund that consists of these objects; what has no ref yet is merged into the first one."""
    objects = dict(objects)
    unnamed = objects.pop("", None)
    own = objects.pop(first)
    if unnamed is not None:
        own = _joined(own, unnamed)
    others = tuple(objects[ref] for ref in sorted(objects))
    return replace(_of_first(refund, own), others=others)


def _of_first(refund: Refund, first: RefundObject) -> Refund:
    learned = replace(
        refund,
        provider_ref=first.provider_ref or refund.provider_ref,
        told=first.told,
        succeed_time=first.succeed_time,
        fail_time=first.fail_time,
        reason=first.reason,
    )
    if refund.number is None:
        # The refund was made at the provider, so its amount is what was told. Older records, from before
        # `told`, have the amount alone.
        amount = max(refund.amount, learned.told)
        learned = replace(learned, amount=amount, told=amount)
    return learned


def _joined(one: RefundObject, other: RefundObject) -> RefundObject:
    return replace(
        one,
        told=max(one.told, other.told),
        succeed_time=later(one.succeed_time, other.succeed_time),
        fail_time=later(one.fail_time, other.fail_time),
        reason=max(one.reason, other.reason),
    )
