"""Owns the page of what a tenant demands of withdrawals: shown to all who may read it, changed by who may."""

import hashlib
from typing import Final

from starlette.responses import Response

from console import refusals
from console.catalogue import N_
from console.forms import form_key, key_of
from console.ledger import SET_WITHDRAWAL_POLICY
from console.pages import Page
from console.typed_amounts import NotAnAmount, typed_amount
from console.visit import Visit
from defter_client import AccessDenied, LedgerError
from defter_client import messages as m

_MOST_ROWS: Final = 50
_EMPTY_ROWS: Final = 2
_CHANGED: Final = N_(
    "Somebody has changed it since you opened it, so nothing was changed for you. Look at it again."
)
_TWICE: Final = N_("A currency stands there twice.")
_NO_CURRENCY: Final = N_("An amount has no currency.")

Row = tuple[str, str, str]
"""Currency and amount as they were typed, and what is wrong with them."""


async def policy(visit: Visit) -> Response:
    """Show it."""
    return await _shown(visit)


async def changed(visit: Visit, form: dict[str, str]) -> Response:
    """Ask the ledger to replace it, if it still is what whoever changes it has seen."""
    key, rows = key_of(form), _typed(form)
    may_cancel = form.get("player_may_cancel") == "yes"
    currencies = await visit.console.currencies.of(visit.ledger)
    wanted = m.WithdrawalPolicy(player_may_cancel=may_cancel)
    problems = False
    for number, (currency, amount, _) in enumerate(rows):
        wrong = ""
        if not currency and not amount:
            continue
        if not currency:
            wrong = visit.say(_NO_CURRENCY)
        elif currency in wanted.second_review_from_minor:
            wrong = visit.say(_TWICE)
        else:
            try:
                wanted.second_review_from_minor[currency] = typed_amount(
                    amount, visit.language, currency, currencies
                )
            except NotAnAmount as error:
                wrong = visit.say(error.sentence)
        problems = problems or bool(wrong)
        rows[number] = (currency, amount, wrong)
    if problems:
        return await _shown(visit, rows=rows, may_cancel=may_cancel, seen=form.get("seen", ""), status=422)
    now = await _read(visit)
    if form.get("seen") != mark_of(now) and now != wanted:
        # The ledger replaces it whole: what somebody else has set meanwhile would be lost unseen.
        return await _shown(visit, problem=visit.say(_CHANGED), status=409)
    ledger = visit.ledger
    request = m.SetWithdrawalPolicyRequest(tenant_id=visit.tenant_id, idempotency_key=key, policy=wanted)
    try:
        answer = await ledger.ask(ledger.client.withdrawals.set_withdrawal_policy, request)
    except LedgerError as error:
        if isinstance(error, AccessDenied):
            ledger.forget_access(visit.tenant_id)
        is_again = error.outcome_unknown or error.retryable
        return await _shown(
            visit,
            rows=rows,
            may_cancel=may_cancel,
            seen=form.get("seen", "") if is_again else "",
            key=key if is_again else "",
            problem=visit.say(refusals.sentence_of(error)),
            code=error.reason,
            status=refusals.status_of(error),
        )
    visit.note("replayed" if answer.replayed else "policy_set")
    return visit.redirect(visit.path("withdrawal-policy"))


def mark_of(found: m.WithdrawalPolicy) -> str:
    """Return what tells a policy from any other one."""
    return hashlib.sha256(found.SerializeToString(deterministic=True)).hexdigest()[:32]


def _typed(form: dict[str, str]) -> list[Row]:
    return [
        (form.get(f"currency_{n}", "").strip().upper(), form.get(f"amount_{n}", "").strip(), "")
        for n in range(_MOST_ROWS)
        if f"currency_{n}" in form
    ]


async def _read(visit: Visit) -> m.WithdrawalPolicy:
    ledger = visit.ledger
    request = m.GetWithdrawalPolicyRequest(tenant_id=visit.tenant_id)
    return (await ledger.ask(ledger.client.withdrawals.get_withdrawal_policy, request)).policy


async def _shown(
    visit: Visit,
    *,
    rows: list[Row] | None = None,
    may_cancel: bool | None = None,
    seen: str = "",
    key: str = "",
    problem: str = "",
    code: str = "",
    status: int = 200,
) -> Response:
    found = await _read(visit)
    amounts = sorted(found.second_review_from_minor.items())
    if rows is None:
        formats = await visit.formats()
        rows = [(currency, formats.typed(minor, currency), "") for currency, minor in amounts]
        rows += [("", "", "")] * _EMPTY_ROWS
    ledger = visit.ledger
    return await visit.page(
        "withdrawal_policy.html",
        status,
        policy=found,
        amounts=amounts,
        rows=rows,
        # A form that has not all of them would take away those that it leaves out.
        fits=len(amounts) + _EMPTY_ROWS <= _MOST_ROWS,
        may_cancel=found.player_may_cancel if may_cancel is None else may_cancel,
        may=(await ledger.may(visit.tenant_id, SET_WITHDRAWAL_POLICY))[SET_WITHDRAWAL_POLICY],
        seen=seen or mark_of(found),
        key=key or form_key(),
        problem=problem,
        code_told=code,
    )


PAGES: Final = (Page("/t/{tenant}/withdrawal-policy", policy, changed),)
