"""Owns the captures of a deposit: what they amount to, summed over its payments at the provider.

Reports may overlap: a provider tells of a capture, of the payment that the capture is part of, or only of our
id. The booked amount is the least that explains all reports, so that nothing is credited twice; captures of
different payments are added up.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from msgspec.structs import replace

from ledger_server.domain.payments.knowledge import Capture, happened, later


def with_capture(captures: tuple[Capture, ...], told: Capture) -> tuple[Capture, ...]:
    """Return the captures with what was told of one: the larger amount, and the later times.

    A named capture is the same capture whatever payment it was reported with: its payment may become known
    later.
    """
    known = next((each for each in captures if _is_same(each, told)), told)
    merged = replace(
        told,
        payment_ref=max(known.payment_ref, told.payment_ref),
        amount=max(known.amount, told.amount),
        capture_time=later(known.capture_time, told.capture_time),
        fail_time=later(known.fail_time, told.fail_time),
    )
    others = [each for each in captures if not _is_same(each, told)]
    return tuple(sorted([*others, merged], key=lambda each: (each.provider_ref, each.payment_ref)))


def whole_of(captures: Iterable[Capture], payment_ref: str) -> Capture | None:
    """Return what was told of a payment as a whole, or of the whole deposit if the payment has no ref."""
    return next(
        (each for each in captures if not each.provider_ref and each.payment_ref == payment_ref), None
    )


def fail_time_of(captures: Sequence[Capture], capture: Capture) -> datetime | None:
    """Return when a capture failed: a failure that names no capture means all of its payment."""
    payment, deposit = whole_of(captures, capture.payment_ref), whole_of(captures, "")
    failed = capture.fail_time
    for whole in (payment, deposit):
        failed = later(failed, whole.fail_time if whole is not None else None)
    return failed


def taken(captures: Sequence[Capture]) -> int:
    """Return what was ever captured, whether or not it failed later."""
    return _least([each for each in captures if each.capture_time is not None])


def captured(captures: Sequence[Capture]) -> int:
    """Return what the captures that stand amount to."""
    return _least([each for each in captures if happened(each.capture_time, fail_time_of(captures, each))])


def captured_by(captures: Sequence[Capture]) -> dict[str, int]:
    """Return what the captures that stand amount to, for each payment that was named.

    A capture without a payment belongs to the only payment that was named; if several were named, to none.
    """
    stand = [each for each in captures if happened(each.capture_time, fail_time_of(captures, each))]
    refs = {each.payment_ref for each in captures if each.payment_ref}
    if len(refs) == 1:
        return {ref: _least(stand) for ref in refs}
    return {ref: _least([each for each in stand if each.payment_ref == ref]) for ref in refs}


def paid_by(captures: Iterable[Capture]) -> tuple[str, ...]:
    """Return the named payments at the provider that have ever captured money."""
    return tuple(
        sorted({each.payment_ref for each in captures if each.payment_ref and each.capture_time is not None})
    )


def _is_same(one: Capture, other: Capture) -> bool:
    if one.provider_ref or other.provider_ref:
        return one.provider_ref == other.provider_ref
    return one.payment_ref == other.payment_ref


def _least(captures: Sequence[Capture]) -> int:
    """Return the least that explains these captures: payments add up, and a whole covers its parts."""
    wholes = {each.payment_ref: each.amount for each in captures if not each.provider_ref}
    deposit = wholes.pop("", 0)
    parts: Counter[str] = Counter()
    for each in captures:
        if each.provider_ref:
            parts[each.payment_ref] += each.amount
    # Captures whose payment is not known may be parts of any whole.
    stray = parts.pop("", 0)
    room = sum(max(0, amount - parts[payment]) for payment, amount in wholes.items())
    payments = sum(max(wholes.get(payment, 0), parts[payment]) for payment in {*wholes, *parts})
    return max(deposit, payments + max(0, stray - room))
