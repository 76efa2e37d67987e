"""Owns the page of one withdrawal: all that a reviewer needs, and each step that may be asked for."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp
from starlette.exceptions import HTTPException
from starlette.responses import Response

from console import bulk, refusals
from console.catalogue import N_
from console.formats import moment_of
from console.forms import FormRefused, form_key, key_of
from console.ledger import ADD_NOTE, APPROVE, CANCEL, CLAIM, MARK_PAID, REJECT
from console.pages import Page
from console.views.allowed import if_allowed
from console.visit import Visit
from defter_client import AccessDenied, LedgerError
from defter_client import messages as m

_HISTORY_DAYS: Final = 90
_HISTORY: Final = 200
"""Of them it is told how often the same destination was paid."""
_SHOWN: Final = 20
_NEEDS_REASON: Final = N_("Say why: the player's support will be asked.")
_NEEDS_NOTE: Final = N_("Write the note first.")
ACTS: Final = {
    "approve": APPROVE,
    "reject": REJECT,
    "cancel": CANCEL,
    "claim": CLAIM,
    "release": CLAIM,
    "take-over": CLAIM,
    "note": ADD_NOTE,
    "paid": MARK_PAID,
}
_DONE: Final = {
    "approve": "approved",
    "reject": "rejected",
    "cancel": "cancelled",
    "claim": "claimed",
    "release": "released",
    "take-over": "claimed",
    "note": "noted",
}
_NEEDS: Final = {"reject": _NEEDS_REASON, "cancel": _NEEDS_REASON, "note": _NEEDS_NOTE}
_OPEN: Final = frozenset({m.WITHDRAWAL_STATE_REQUESTED, m.WITHDRAWAL_STATE_APPROVED})


async def one(visit: Visit) -> Response:
    """Show one withdrawal with all that a reviewer needs."""
    return await _shown(visit, problem="", typed={}, status=200)


async def act(visit: Visit, form: dict[str, str]) -> Response:
    """Ask the ledger for a step; then show the withdrawal as the ledger has it."""
    name, withdrawal_id = visit.request.path_params["act"], visit.request.path_params["withdrawal"]
    if name not in _DONE:
        raise HTTPException(404)
    if name in _NEEDS and not form.get("note", "").strip():
        typed = {**form, "act": name}
        return await _shown(visit, problem=visit.say(_NEEDS[name]), typed=typed, status=422)
    method, request = _asked(visit, name, form)
    try:
        answer = await visit.ledger.ask(method, request)
    except LedgerError as error:
        if isinstance(error, AccessDenied):
            visit.ledger.forget_access(visit.tenant_id)
        typed = {**form, "act": name, "again": "yes" if error.outcome_unknown or error.retryable else ""}
        problem = visit.say(refusals.sentence_of(error))
        return await _shown(
            visit, problem=problem, typed=typed, status=refusals.status_of(error), code=error.reason
        )
    visit.note("replayed" if answer.replayed else _DONE[name])
    return visit.redirect(visit.path("withdrawals", withdrawal_id))


def _asked(visit: Visit, name: str, form: dict[str, str]) -> tuple[Any, Any]:
    """Return the method for a step, and what it is asked."""
    ledger, note = visit.ledger, form.get("note", "").strip()
    withdrawals = ledger.client.withdrawals
    common: dict[str, Any] = {
        "tenant_id": visit.tenant_id,
        "withdrawal_id": visit.request.path_params["withdrawal"],
        "idempotency_key": key_of(form),
    }
    if name == "cancel":
        return withdrawals.cancel_withdrawal, m.CancelWithdrawalRequest(**common, reason=note)
    common["reviewer"] = ledger.person
    match name:
        case "approve":
            return withdrawals.approve_withdrawal, m.ApproveWithdrawalRequest(
                **common, **_seen(form), note=note
            )
        case "reject":
            return withdrawals.reject_withdrawal, m.RejectWithdrawalRequest(
                **common, **_seen(form), reason=note
            )
        case "note":
            return withdrawals.add_withdrawal_note, m.AddWithdrawalNoteRequest(**common, text=note)
        case _:
            step = m.ClaimWithdrawalRequest(
                **common, take_over=name == "take-over", release=name == "release"
            )
            return withdrawals.claim_withdrawal, step


def _seen(form: dict[str, str]) -> dict[str, Any]:
    """Return what whoever decides has seen: the ledger refuses a decision about anything else.

    Raises:
        FormRefused: the form does not say it.
    """
    state, approvals = form.get("seen_state", ""), form.get("seen_approvals", "")
    if not all(each.isascii() and each.isdecimal() and len(each) < 4 for each in (state, approvals)):
        raise FormRefused(400)
    return {"expected_state": int(state), "expected_approvals": int(approvals)}


async def _shown(
    visit: Visit, *, problem: str, typed: dict[str, str], status: int, code: str = ""
) -> Response:
    ledger, tenant_id = visit.ledger, visit.tenant_id
    withdrawal_id = visit.request.path_params["withdrawal"]
    answer = await ledger.ask(
        ledger.client.withdrawals.get_withdrawal,
        m.GetWithdrawalRequest(tenant_id=tenant_id, withdrawal_id=withdrawal_id),
    )
    withdrawal = answer.withdrawal
    to_review = withdrawal.state == m.WITHDRAWAL_STATE_REQUESTED
    since = Timestamp()
    since.FromDatetime(datetime.now(UTC) - timedelta(days=_HISTORY_DAYS))
    about: dict[str, Any] = {
        "tenant_id": tenant_id,
        "player_id": withdrawal.player_id,
        "from_time": since,
        "newest_first": True,
        "page_size": _HISTORY,
    }
    allowed: Callable[[Awaitable[Any]], Awaitable[Any]] = if_allowed
    # Independent of each other, so they are asked for together; what the person may not read is left out.
    policy, wallet, hold, before, deposits, findings, may = await asyncio.gather(
        allowed(
            ledger.ask(
                ledger.client.withdrawals.get_withdrawal_policy,
                m.GetWithdrawalPolicyRequest(tenant_id=tenant_id),
            )
        ),
        allowed(
            ledger.ask(
                ledger.client.wallets.get_wallet,
                m.GetWalletRequest(tenant_id=tenant_id, player_id=withdrawal.player_id),
            )
        ),
        allowed(
            ledger.ask(
                ledger.client.holds.get_hold,
                m.GetHoldRequest(tenant_id=tenant_id, hold_id=withdrawal.hold_id),
            )
        ),
        allowed(ledger.page(ledger.client.withdrawals.list_withdrawals, m.ListWithdrawalsRequest(**about))),
        allowed(ledger.page(ledger.client.deposits.list_deposits, m.ListDepositsRequest(**about))),
        allowed(
            ledger.page(
                ledger.client.findings.list_findings,
                m.ListFindingsRequest(tenant_id=tenant_id, payment_id=withdrawal_id, page_size=_SHOWN),
            )
        ),
        ledger.may(tenant_id, *dict.fromkeys(ACTS.values())),
    )
    others = [] if before is None else [e for e in before.withdrawals if e.withdrawal_id != withdrawal_id]
    return await visit.page(
        "withdrawal.html",
        status,
        w=withdrawal,
        sequence=answer.sequence,
        to_review=to_review,
        is_open=withdrawal.state in _OPEN,
        may={act: may[method] for act, method in ACTS.items()},
        claim=_claim(visit, withdrawal),
        is_claimed_by_other=bulk.claimed_by_other(withdrawal, ledger.person, visit.now),
        seen_state=typed.get("seen_state", "") if typed.get("again") else str(withdrawal.state),
        seen_approvals=typed.get("seen_approvals", "")
        if typed.get("again")
        else str(len(withdrawal.approvals)),
        has_approved=any(each.reviewer.lower() == ledger.person.lower() for each in withdrawal.approvals),
        second_from=0
        if policy is None
        else policy.policy.second_review_from_minor.get(withdrawal.currency_code, 0),
        may_cancel=policy is None or policy.policy.player_may_cancel,
        wallet=_wallet_of(wallet, withdrawal.currency_code),
        hold=None if hold is None else hold.hold,
        others=others[:_SHOWN],
        others_left=before is not None and (bool(before.next_page_token) or len(others) > _SHOWN),
        known_destinations=sum(
            e.destination == withdrawal.destination and e.state == m.WITHDRAWAL_STATE_PAID for e in others
        ),
        deposits=None if deposits is None else deposits.deposits[:_SHOWN],
        deposits_left=deposits is not None
        and (bool(deposits.next_page_token) or len(deposits.deposits) > _SHOWN),
        findings=None if findings is None else findings.findings,
        history_days=_HISTORY_DAYS,
        keys={name: typed["key"] if _same_again(typed, name) else form_key() for name in ACTS},
        typed=typed,
        problem=problem,
        code_told=code,
    )


def _same_again(typed: dict[str, str], name: str) -> bool:
    """Whether a form is to be sent again as it was, since what became of it is not known."""
    return bool(typed.get("again")) and typed.get("act") == name


def _claim(visit: Visit, withdrawal: m.Withdrawal) -> m.WithdrawalClaim | None:
    """Return who works on it, if somebody has said so and it still counts."""
    until = moment_of(withdrawal.claim.expire_time)
    return withdrawal.claim if until is not None and until > visit.now else None


def _wallet_of(answer: m.GetWalletResponse | None, currency_code: str) -> m.WalletBalance | None:
    if answer is None:
        return None
    return next((each for each in answer.wallet.balances if each.currency_code == currency_code), None)


PAGES: Final = (
    Page("/t/{tenant}/withdrawals/{withdrawal}", one),
    Page("/t/{tenant}/withdrawals/{withdrawal}/{act}", post=act),
)
