"""Owns how it is recorded by hand that a withdrawal was paid: seen once more in full, and then asked for."""

from typing import Final

from starlette.responses import Response

from console import refusals
from console.catalogue import N_
from console.forms import form_key, key_of
from console.ledger import MARK_PAID
from console.pages import Page
from console.visit import Visit
from defter_client import AccessDenied, LedgerError
from defter_client import messages as m

_MOST_REF: Final = 255
_NEEDS_REF: Final = N_("Name what it was paid by: without it nobody finds the payment again.")


async def looked_at(visit: Visit) -> Response:
    """Show what would be recorded."""
    return await _shown(visit)


async def confirmed(visit: Visit, form: dict[str, str]) -> Response:
    """Ask the ledger to record it; the key is that of the page that showed it."""
    key, reference = key_of(form), form.get("provider_ref", "").strip()
    if not reference or len(reference) > _MOST_REF:
        return await _shown(visit, typed=reference, problem=visit.say(_NEEDS_REF), status=422)
    ledger, withdrawal_id = visit.ledger, visit.request.path_params["withdrawal"]
    request = m.MarkWithdrawalPaidRequest(
        tenant_id=visit.tenant_id,
        idempotency_key=key,
        withdrawal_id=withdrawal_id,
        provider_ref=reference,
        reviewer=ledger.person,
    )
    try:
        answer = await ledger.ask(ledger.client.withdrawals.mark_withdrawal_paid, request)
    except LedgerError as error:
        if isinstance(error, AccessDenied):
            ledger.forget_access(visit.tenant_id)
        return await _shown(
            visit,
            typed=reference,
            problem=visit.say(refusals.sentence_of(error)),
            status=refusals.status_of(error),
            code=error.reason,
            # What became of it is not known, so the same form has to be sent again.
            key=key if error.outcome_unknown or error.retryable else "",
        )
    visit.note("replayed" if answer.replayed else "paid")
    return visit.redirect(visit.path("withdrawals", withdrawal_id))


async def _shown(
    visit: Visit, *, typed: str = "", problem: str = "", status: int = 200, code: str = "", key: str = ""
) -> Response:
    ledger = visit.ledger
    request = m.GetWithdrawalRequest(
        tenant_id=visit.tenant_id, withdrawal_id=visit.request.path_params["withdrawal"]
    )
    found = (await ledger.ask(ledger.client.withdrawals.get_withdrawal, request)).withdrawal
    return await visit.page(
        "paid.html",
        status,
        w=found,
        is_payable=found.state == m.WITHDRAWAL_STATE_APPROVED,
        may=(await ledger.may(visit.tenant_id, MARK_PAID))[MARK_PAID],
        typed=typed or found.provider_ref,
        key=key or form_key(),
        problem=problem,
        code_told=code,
    )


PAGES: Final = (Page("/t/{tenant}/withdrawals/{withdrawal}/paid", looked_at, confirmed),)
