"""Owns the pages of adjustments: those that wait, and one with all that whoever approves it has to see."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from console import csv_lists, refusals, words
from console.catalogue import N_
from console.csv_lists import Text
from console.formats import iso
from console.forms import FormRefused, form_key, key_of
from console.ledger import APPROVE_ADJUSTMENT, CANCEL_ADJUSTMENT, REJECT_ADJUSTMENT
from console.pages import Page
from console.views.allowed import if_allowed
from console.views.lists import PAGE_SIZE, Filters, csv_answer
from console.visit import Visit
from defter_client import AccessDenied, LedgerError
from defter_client import messages as m

_ACTS: Final = {"approve": APPROVE_ADJUSTMENT, "reject": REJECT_ADJUSTMENT, "cancel": CANCEL_ADJUSTMENT}
_DONE: Final = {"reject": "adjustment_rejected", "cancel": "adjustment_cancelled"}
_NEEDS_REASON: Final = N_("Say why: who asked for it will want to know.")


def _request(visit: Visit, filters: Filters) -> m.ListAdjustmentsRequest:
    """Return what the address asks for; without a state those that wait."""
    wanted = visit.query.get("state")
    state = (
        m.ADJUSTMENT_STATE_REQUESTED if wanted is None else filters.number("state", words.ADJUSTMENT_STATES)
    )
    return m.ListAdjustmentsRequest(
        tenant_id=visit.tenant_id,
        states=[state] if state else [],  # type: ignore[list-item]  # one of the words' keys
        from_time=filters.time("from"),
        to_time=filters.time("to"),
        newest_first=visit.query.get("order") == "newest",
        page_size=PAGE_SIZE,
        page_token=filters.page_token,
    )


async def listed(visit: Visit) -> Response:
    """Show adjustments, the oldest first unless the address says otherwise."""
    filters = Filters(visit)
    request = _request(visit, filters)
    ledger = visit.ledger
    answer = await ledger.page(ledger.client.adjustments.list_adjustments, request)
    return await visit.page(
        "adjustments.html",
        422 if filters.problems else 200,
        rows=answer.adjustments,
        request=request,
        state=request.states[0] if request.states else 0,
        policy=await policy_of(visit),
        next_token=answer.next_page_token,
        sequence=answer.sequence,
        problems=filters.problems,
    )


async def policy_of(visit: Visit) -> m.AdjustmentPolicy | None:
    """Return from which amounts on a second person is needed; None where the person may not know."""
    ledger = visit.ledger
    request = m.GetAdjustmentPolicyRequest(tenant_id=visit.tenant_id)
    answer = await if_allowed(ledger.ask(ledger.client.adjustments.get_adjustment_policy, request))
    return None if answer is None else answer.policy


async def as_csv(visit: Visit) -> Response:
    """Return all pages of the same list as a file, one line for each posting."""
    filters = Filters(visit)
    request = _request(visit, filters)
    if filters.problems:
        raise HTTPException(400)
    request.page_size, request.page_token = 1_000, ""
    ledger, formats = visit.ledger, await visit.formats()

    async def rows() -> AsyncIterator[Sequence[csv_lists.Cell]]:
        async for each in ledger.client.adjustments.list_adjustments(request, metadata=ledger.metadata):
            for leg in each.postings:
                yield (
                    each.adjustment_id,
                    m.AdjustmentState.Name(each.state),
                    Text(leg.account_id),
                    m.Direction.Name(leg.direction),
                    formats.plain(leg.amount_minor, leg.currency_code),
                    leg.currency_code,
                    Text(each.reason),
                    Text(each.reference),
                    Text(each.requester),
                    Text(" ".join(approval.reviewer for approval in each.approvals)),
                    Text(each.rejected_by),
                    Text(each.end_reason),
                    each.transaction_id,
                    iso(each.request_time),
                    iso(each.update_time),
                )

    header = (
        "adjustment_id,state,account_id,direction,amount,currency,reason,reference,requester,approved_by,"
        "rejected_by,end_reason,transaction_id,request_time,update_time"
    )
    return await csv_answer(visit, "adjustments", header.split(","), rows())


async def one(visit: Visit) -> Response:
    """Show one adjustment."""
    return await _shown(visit, problem="", typed={}, status=200)


async def act(visit: Visit, form: dict[str, str]) -> Response:
    """Ask the ledger to approve, reject or cancel; then show the adjustment as the ledger has it."""
    name = visit.request.path_params["act"]
    if name not in _ACTS:
        raise HTTPException(404)
    note = form.get("note", "").strip()
    if name == "reject" and not note:
        return await _shown(visit, problem=visit.say(_NEEDS_REASON), typed={**form, "act": name}, status=422)
    try:
        answer = await _asked(visit, name, form, note)
    except LedgerError as error:
        if isinstance(error, AccessDenied):
            visit.ledger.forget_access(visit.tenant_id)
        typed = {**form, "act": name, "again": "yes" if error.outcome_unknown or error.retryable else ""}
        problem = visit.say(refusals.sentence_of(error))
        return await _shown(
            visit, problem=problem, typed=typed, status=refusals.status_of(error), code=error.reason
        )
    posted = answer.response.adjustment.state == m.ADJUSTMENT_STATE_POSTED
    done = _DONE.get(name) or ("adjustment_posted" if posted else "approved")
    visit.note("replayed" if answer.replayed else done)
    return visit.redirect(visit.path("adjustments", visit.request.path_params["adjustment"]))


async def _asked(visit: Visit, name: str, form: dict[str, str], note: str) -> Any:
    ledger, seen = visit.ledger, form.get("seen_state", "")
    if not (seen.isascii() and seen.isdecimal() and len(seen) < 4):
        raise FormRefused(400)
    adjustments = ledger.client.adjustments
    common: dict[str, Any] = {
        "tenant_id": visit.tenant_id,
        "adjustment_id": visit.request.path_params["adjustment"],
        "idempotency_key": key_of(form),
        "expected_state": int(seen),
    }
    match name:
        case "approve":
            approval = m.ApproveAdjustmentRequest(**common, reviewer=ledger.person, note=note)
            return await ledger.ask(adjustments.approve_adjustment, approval)
        case "reject":
            rejection = m.RejectAdjustmentRequest(**common, reviewer=ledger.person, reason=note)
            return await ledger.ask(adjustments.reject_adjustment, rejection)
        case _:
            taken_back = m.CancelAdjustmentRequest(**common, actor=ledger.person, reason=note)
            return await ledger.ask(adjustments.cancel_adjustment, taken_back)


async def _shown(
    visit: Visit, *, problem: str, typed: dict[str, str], status: int, code: str = ""
) -> Response:
    ledger = visit.ledger
    request = m.GetAdjustmentRequest(
        tenant_id=visit.tenant_id, adjustment_id=visit.request.path_params["adjustment"]
    )
    answer = await ledger.ask(ledger.client.adjustments.get_adjustment, request)
    found = answer.adjustment
    may = await ledger.may(visit.tenant_id, *_ACTS.values())
    is_again = bool(typed.get("again"))
    return await visit.page(
        "adjustment.html",
        status,
        a=found,
        sequence=answer.sequence,
        waits=found.state == m.ADJUSTMENT_STATE_REQUESTED,
        is_mine=found.requester.lower() == ledger.person.lower(),
        has_approved=any(each.reviewer.lower() == ledger.person.lower() for each in found.approvals),
        may={name: may[method] for name, method in _ACTS.items()},
        seen_state=typed.get("seen_state", "") if is_again else str(found.state),
        keys={name: typed["key"] if is_again and typed.get("act") == name else form_key() for name in _ACTS},
        typed=typed,
        problem=problem,
        code_told=code,
    )


PAGES: Final = (
    Page("/t/{tenant}/adjustments", listed),
    Page("/t/{tenant}/adjustments.csv", as_csv),
    Page("/t/{tenant}/adjustments/{adjustment}", one),
    Page("/t/{tenant}/adjustments/{adjustment}/{act}", post=act),
)
