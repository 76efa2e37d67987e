"""Owns the way of a refund: an amount is typed, seen once more in full, and only then asked of the ledger."""

from typing import Final

from starlette.responses import Response

from console import refusals
from console.catalogue import N_
from console.forms import FormRefused, form_key, key_of
from console.pages import Page
from console.timelines import refundable_minor, under_refund_minor
from console.typed_amounts import NotAnAmount, typed_amount
from console.views.deposits import REFUNDABLE, may_refund, read
from console.visit import Visit
from defter_client import AccessDenied, LedgerError
from defter_client import messages as m

_MORE_THAN_LEFT: Final = N_("This is more than is left to refund.")
_CHANGED: Final = N_(
    "The deposit has changed since you looked at it, so nothing was refunded. Look at the amounts again."
)
_MOST_MINOR: Final = 2**63 - 1


async def looked_at(visit: Visit) -> Response:
    """Show a form for the amount, or the amount that was typed, to be confirmed."""
    deposit = (await read(visit)).deposit
    typed = visit.query.get("amount")
    if typed is None:
        return await _typing(visit, deposit)
    currencies = await visit.console.currencies.of(visit.ledger)
    try:
        amount_minor = typed_amount(typed, visit.language, deposit.currency_code, currencies)
    except NotAnAmount as error:
        return await _typing(visit, deposit, problem=visit.say(error.sentence), status=422)
    if amount_minor > refundable_minor(deposit):
        return await _typing(visit, deposit, problem=visit.say(_MORE_THAN_LEFT), status=422)
    return await _confirming(visit, deposit, amount_minor, key=form_key())


async def confirmed(visit: Visit, form: dict[str, str]) -> Response:
    """Ask the ledger for the refund that was shown; the key is that of the page that showed it."""
    key, amount_minor = key_of(form), _amount_of(form)
    ledger = visit.ledger
    deposit = (await read(visit)).deposit
    if form.get("seen") != seen(deposit) and not await _is_known(visit, key):
        # Two people who each refund what is left of it to the other's eyes would refund twice.
        return await _typing(visit, deposit, problem=visit.say(_CHANGED), status=409)
    request = m.RefundDepositRequest(
        tenant_id=visit.tenant_id,
        idempotency_key=key,
        deposit_id=deposit.deposit_id,
        amount_minor=amount_minor,
    )
    try:
        answer = await ledger.ask(ledger.client.deposits.refund_deposit, request)
    except LedgerError as error:
        if isinstance(error, AccessDenied):
            ledger.forget_access(visit.tenant_id)
        problem, status = visit.say(refusals.sentence_of(error)), refusals.status_of(error)
        if error.outcome_unknown or error.retryable:
            return await _confirming(
                visit,
                deposit,
                amount_minor,
                key=key,
                was_seen=form.get("seen", ""),
                problem=problem,
                status=status,
                code=error.reason,
            )
        return await _typing(
            visit, (await read(visit)).deposit, problem=problem, status=status, code=error.reason
        )
    visit.note("replayed" if answer.replayed else "refund_asked")
    return visit.redirect(visit.path("deposits", deposit.deposit_id))


def seen(deposit: m.Deposit) -> str:
    """Return what somebody has to have seen of a deposit who refunds a part of it."""
    money = (deposit.captured_minor, deposit.refunded_minor, deposit.disputed_minor)
    return "-".join(map(str, (*money, under_refund_minor(deposit), len(deposit.refunds))))


async def _is_known(visit: Visit, key: str) -> bool:
    """Whether this very form was decided before, so that sending it again can only answer it again."""
    ledger = visit.ledger
    asking = m.GetOutcomeRequest(tenant_id=visit.tenant_id, method="RefundDeposit", idempotency_key=key)
    try:
        await ledger.ask(ledger.client.journal.get_outcome, asking)
    except AccessDenied:
        return False
    except LedgerError as error:
        if error.reason == "OUTCOME_NOT_FOUND":
            return False
        raise
    return True


def _amount_of(form: dict[str, str]) -> int:
    text = form.get("amount_minor", "")
    if not (text.isascii() and text.isdecimal() and len(text) <= 19 and 0 < int(text) <= _MOST_MINOR):
        raise FormRefused(400)
    return int(text)


async def _typing(
    visit: Visit, deposit: m.Deposit, *, problem: str = "", status: int = 200, code: str = ""
) -> Response:
    return await visit.page(
        "refund.html",
        status,
        d=deposit,
        left_minor=refundable_minor(deposit),
        asked_minor=under_refund_minor(deposit),
        may=await may_refund(visit),
        is_refundable=deposit.state in REFUNDABLE,
        typed=visit.query.get("amount", ""),
        amount_minor=0,
        problem=problem,
        code_told=code,
    )


async def _confirming(
    visit: Visit,
    deposit: m.Deposit,
    amount_minor: int,
    *,
    key: str,
    was_seen: str = "",
    problem: str = "",
    status: int = 200,
    code: str = "",
) -> Response:
    left_minor = refundable_minor(deposit)
    return await visit.page(
        "refund.html",
        status,
        d=deposit,
        left_minor=left_minor,
        asked_minor=under_refund_minor(deposit),
        # A form whose outcome is not known is shown again even where the ledger can't say what is allowed.
        may={"refund": True} if was_seen else await may_refund(visit),
        is_refundable=deposit.state in REFUNDABLE,
        amount_minor=amount_minor,
        behind_minor=max(0, left_minor - amount_minor),
        seen=was_seen or seen(deposit),
        key=key,
        problem=problem,
        code_told=code,
    )


PAGES: Final = (Page("/t/{tenant}/deposits/{deposit}/refund", looked_at, confirmed),)
