"""Owns the discrepancies that follow from an event, or from what is known of a payment."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from msgspec.structs import replace

from ledger_server.domain.findings.discrepancy import Discrepancy, FindingClass, Side
from ledger_server.domain.ids import TenantIds
from ledger_server.domain.payments.captures import paid_by
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.events import ProviderEvent
from ledger_server.domain.payments.knowledge import CallState, Refund, RefundState
from ledger_server.domain.payments.withdrawal import Withdrawal, WithdrawalState
from ledger_server.domain.provider_record import ProviderRecordKind
from ledger_server.domain.state.working_set import WorkingSet


def of_payment(ids: TenantIds, payment: Deposit | Withdrawal) -> tuple[Discrepancy, ...]:
    """Return what is wrong with a payment, as far as it is known."""
    return of_deposit(ids, payment) if isinstance(payment, Deposit) else of_withdrawal(ids, payment)


def of_deposit(ids: TenantIds, deposit: Deposit) -> tuple[Discrepancy, ...]:
    """Return what is wrong with a deposit, as far as it is known."""
    found = []
    if _is_captured_and_failed(deposit):
        found.append(_status(ids, deposit, "captured and failed"))
    elif deposit.call_state is CallState.REJECTED and deposit.provider_ref:
        found.append(_status(ids, deposit, "the call was refused, and answered as well"))
    payments = paid_by(deposit.captures)
    created = [each.payment_ref for each in deposit.attempts if each.answered]
    found += [_duplicate(ids, deposit, each, {deposit.provider_ref, *created}) for each in created]
    if deposit.taken > deposit.amount:
        found += [_duplicate(ids, deposit, each, payments) for each in _further_payments(deposit)]
        found.append(
            _amount(ids, deposit, "more was captured than asked for", (deposit.amount, deposit.taken))
        )
    for refund in deposit.refunds:
        if refund.state is RefundState.SUCCEEDED and not refund.out:
            found.append(_status(ids, deposit, "refunded without an amount", refund))
        # In every state of the refund: otherwise the finding would depend on the order in which events were
        # heard.
        if refund.moved != refund.amount:
            what = "another amount was refunded than asked for"
            found.append(_amount(ids, deposit, what, (refund.amount, refund.moved), refund))
        if refund.call_state is CallState.REJECTED and refund.provider_ref and refund.fail_time is None:
            found.append(_status(ids, deposit, "the call was refused, and the refund is there", refund))
        found += [_duplicate(ids, deposit, each.provider_ref, refund.refs, refund) for each in refund.others]
    if deposit.refunded > deposit.captured > 0:
        what = "more was refunded than captured"
        found.append(_amount(ids, deposit, what, (deposit.captured, deposit.refunded)))
    return tuple(found)


def of_withdrawal(ids: TenantIds, withdrawal: Withdrawal) -> tuple[Discrepancy, ...]:
    """Return what is wrong with a withdrawal, as far as it is known."""
    found = []
    objects = withdrawal.objects
    unexpected = withdrawal.review is not WithdrawalState.APPROVED
    if unexpected and any(each.paid_time is not None or each.fail_time is not None for each in objects):
        found.append(_status(ids, withdrawal, f"at the provider while {withdrawal.review.name}"))
    refused = withdrawal.call_state is CallState.REJECTED
    failed_first = any(each.stands and each.fail_time is not None for each in objects)
    if failed_first or (refused and any(each.answered or each.paid_time is not None for each in objects)):
        # The hold was released when the payout failed, so the player may have spent the money since.
        found.append(_status(ids, withdrawal, "failed and paid"))
    for payout in objects:
        if payout.paid_time is not None and payout.amount != withdrawal.amount:
            what = "another amount was paid than asked for"
            found.append(_amount(ids, withdrawal, what, (withdrawal.amount, payout.amount)))
    first = withdrawal.own_ref or withdrawal.provider_ref
    found += [
        _duplicate(ids, withdrawal, payout.provider_ref, withdrawal.refs)
        for payout in objects
        if payout.provider_ref != first
    ]
    return tuple(found)


def news(before: Sequence[Discrepancy], after: Sequence[Discrepancy]) -> tuple[Discrepancy, ...]:
    """Return the discrepancies that a change has to report, of those that exist after it.

    A further object at the provider is reported once, when it is learned of. A run that sees the object knows
    more of it, and a finding that somebody has resolved must not come back with every later change.
    """
    known = {each.fingerprint for each in before if each.kind is FindingClass.DUPLICATE_AT_PROVIDER}
    return tuple(each for each in after if each.fingerprint not in known)


def _further_payments(deposit: Deposit) -> list[str]:
    """Return the name of each payment at the provider beside the first one, as a run would name it.

    The first one is the payment that the deposit was begun with, else the payment that took money first.
    """
    taken = [each for each in deposit.captures if each.payment_ref and each.capture_time is not None]
    taken.sort(key=lambda each: (each.capture_time, each.payment_ref, each.provider_ref))
    names: dict[str, str] = {}
    for each in taken:
        if not names.get(each.payment_ref):
            names[each.payment_ref] = each.provider_ref
    first = deposit.provider_ref if deposit.provider_ref in names else next(iter(names), "")
    return [name or payment for payment, name in names.items() if payment != first]


def _is_captured_and_failed(deposit: Deposit) -> bool:
    """Whether an ended payment took money, or a payment that was captured in full is said to have ended.

    Two cases are in order: the rest is cancelled after a part was captured, and a try fails beside the
    payment that was paid.
    """
    if not deposit.known_captured:
        return False
    ended = [each for each in deposit.attempts if each.end_time is not None]
    if deposit.call_state is CallState.REJECTED or (deposit.failed and not ended):
        return True
    in_full = deposit.taken >= deposit.amount
    for attempt in ended:
        own = attempt.payment_ref in ("", deposit.provider_ref)
        times = [
            capture.capture_time
            for capture in deposit.captures
            if own or capture.payment_ref == attempt.payment_ref
        ]
        if any(_is_later(time, attempt.end_time) or (in_full and time is not None) for time in times):
            return True
    return False


def _is_later(time: datetime | None, than: datetime | None) -> bool:
    return time is not None and than is not None and time > than


def overdrawn(ids: TenantIds, payment: Deposit | Withdrawal, available: int) -> Discrepancy:
    """Return the discrepancy that something from outside left a wallet below its limit."""
    return _of(
        ids,
        payment,
        FindingClass.WALLET_OVERDRAWN,
        "the wallet is below its limit",
        {"player_id": payment.player_id, "available_balance_minor": str(available)},
    )


def contradiction(
    ids: TenantIds, kind: FindingClass, payment: Deposit | Withdrawal, facts: Mapping[str, str]
) -> Discrepancy:
    """Return the discrepancy that an event could not be booked on its payment."""
    return _of(ids, payment, kind, "an event could not be booked", facts)


def other_of(working_set: WorkingSet, payment: Deposit | Withdrawal, names: Iterable[str]) -> str:
    """Return the id of another payment that has one of these objects; empty if none has."""
    numbers = (working_set.payment_by_ref(payment.provider, name) for name in names)
    other = next((each for each in numbers if each is not None and each != payment.number), None)
    return "" if other is None else working_set.payment_id(other)


def of_two(ids: TenantIds, payment: Deposit | Withdrawal, ref: str, other_id: str) -> Discrepancy:
    """Return the discrepancy that two payments of ours are said to have the same object of the provider."""
    what = "one object of the provider is told of two payments"
    facts = {"told_ref": ref, "other_payment_id": other_id}
    return _of(ids, payment, FindingClass.DUPLICATE_IN_LEDGER, what, facts)


def ambiguous(ids: TenantIds, payment: Deposit | Withdrawal, facts: Mapping[str, str]) -> Discrepancy:
    """Return the discrepancy that an event may tell of more than what was booked by it."""
    return _of(ids, payment, FindingClass.AMOUNT_MISMATCH, "an event may tell of more than is booked", facts)


def of_another_history(event: ProviderEvent, named: str, now: datetime) -> Discrepancy:
    """Return the discrepancy that an event names an id of another history.

    Args:
        named: the foreign id; events that name the same id share one finding.
    """
    return Discrepancy(
        kind=FindingClass.UNKNOWN_HISTORY,
        provider=event.provider,
        payment=None,
        remote=Side(
            ref=named,
            kind=ProviderRecordKind.OTHER,
            amount=None,
            currency=event.currency,
            state="",
            time=event.occur_time,
            type=event.provider_type,
        ),
        currency=event.currency,
        description="an event names an id of another history",
        evidence={
            "named_id": named,
            "provider_ref": event.payment_ref or event.object_ref,
            "event_id": event.event_id,
        },
        subject_time=now,
        withdrawal=False,
        ledger=None,
    )


def refund_ref(ids: TenantIds, deposit: Deposit, refund: Refund) -> str:
    """Return what a refund is called: by our id of it, else within its deposit."""
    if refund.number is not None:
        return ids.refund_id(refund.number)
    return f"{ids.deposit_id(deposit.number)}/refunds/{refund.provider_ref}"


def _side(ids: TenantIds, payment: Deposit | Withdrawal, refund: Refund | None) -> Side:
    """Return the side of the events; its ref ends in `/events`, since runs report their own finding.

    Nothing in it changes later, so a resolved finding stays resolved.
    """
    if isinstance(payment, Withdrawal):
        kind, ref, amount = ProviderRecordKind.PAYOUT, ids.withdrawal_id(payment.number), -payment.amount
    elif refund is not None:
        kind, ref, amount = ProviderRecordKind.REFUND, refund_ref(ids, payment, refund), -refund.amount
    else:
        kind, ref, amount = ProviderRecordKind.PAYMENT, ids.deposit_id(payment.number), payment.amount
    return Side(
        ref=f"{ref}/events",
        kind=kind,
        amount=amount,
        currency=payment.currency,
        state="",
        time=begin_time(payment),
        type="",
    )


def begin_time(payment: Deposit | Withdrawal) -> datetime:
    """Return when a payment was asked for."""
    return payment.initiate_time if isinstance(payment, Deposit) else payment.request_time


def _duplicate(
    ids: TenantIds,
    payment: Deposit | Withdrawal,
    ref: str,
    refs: Iterable[str],
    refund: Refund | None = None,
) -> Discrepancy:
    """Return the discrepancy that the provider has one object more than was asked for.

    The state of the further object does not matter: each object books money, and a person has to say which
    ones are meant.

    Args:
        ref: of the further object, as a run would report it too.
        refs: of all objects.
    """
    what = "more than one at the provider for one of ours"
    facts = {"provider_refs": " ".join(sorted({each for each in refs if each}))}
    found = _of(ids, payment, FindingClass.DUPLICATE_AT_PROVIDER, what, facts, refund=refund)
    return replace(found, remote=replace(_side(ids, payment, refund), ref=ref, amount=None))


def _status(
    ids: TenantIds, payment: Deposit | Withdrawal, what: str, refund: Refund | None = None
) -> Discrepancy:
    return _of(ids, payment, FindingClass.STATUS_MISMATCH, what, {}, refund=refund)


def _amount(
    ids: TenantIds,
    payment: Deposit | Withdrawal,
    what: str,
    amounts: tuple[int, int],
    refund: Refund | None = None,
) -> Discrepancy:
    expected, actual = amounts
    facts = {"expected_minor": str(expected), "actual_minor": str(actual)}
    return _of(ids, payment, FindingClass.AMOUNT_MISMATCH, what, facts, refund=refund)


def _of(
    ids: TenantIds,
    payment: Deposit | Withdrawal,
    kind: FindingClass,
    what: str,
    facts: Mapping[str, str],
    *,
    refund: Refund | None = None,
) -> Discrepancy:
    known = {"provider_ref": payment.known_ref} if payment.known_ref else {}
    return Discrepancy(
        kind=kind,
        provider=payment.provider,
        payment=payment.number,
        withdrawal=isinstance(payment, Withdrawal),
        ledger=_side(ids, payment, refund),
        currency=payment.currency,
        description=what,
        evidence={**known, **facts},
        subject_time=begin_time(payment),
        remote=None,
    )
