"""Owns the pages of withdrawals: the queue, and one with all that a reviewer needs."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp
from starlette.exceptions import HTTPException
from starlette.responses import Response

from console import csv_lists, words
from console.catalogue import N_
from console.csv_lists import Text
from console.formats import Formats, iso
from console.forms import form_key, key_of
from console.ledger import APPROVE, CANCEL, REJECT
from console.pages import Page
from console.views.lists import PAGE_SIZE, Filters, csv_answer
from console.visit import Visit
from defter_client import AccessDenied, LedgerError
from defter_client import messages as m

_HISTORY_DAYS: Final = 90
_HISTORY: Final = 200
_SHOWN: Final = 20
_NEEDS_REASON: Final = N_("Say why: the player's support will be asked.")
_ACTS: Final = {"approve": APPROVE, "reject": REJECT, "cancel": CANCEL}
_DONE: Final = {"approve": "approved", "reject": "rejected", "cancel": "cancelled"}


def _request(visit: Visit, filters: Filters) -> m.ListWithdrawalsRequest:
    """Return what the address asks for; without a state those to review."""
    wanted = visit.query.get("state")
    state = (
        m.WITHDRAWAL_STATE_REQUESTED if wanted is None else filters.number("state", words.WITHDRAWAL_STATES)
    )
    return m.ListWithdrawalsRequest(
        tenant_id=visit.tenant_id,
        player_id=filters.text("player"),
        state=state,  # type: ignore[arg-type]  # one of the words' keys
        provider=filters.text("provider"),
        from_time=filters.time("from"),
        to_time=filters.time("to"),
        page_size=PAGE_SIZE,
        page_token=filters.page_token,
    )


async def queue(visit: Visit) -> Response:
    """Show withdrawals, the oldest first."""
    filters = Filters(visit)
    request = _request(visit, filters)
    ledger = visit.ledger
    answer = await ledger.page(ledger.client.withdrawals.list_withdrawals, request)
    return await visit.page(
        "withdrawals.html",
        422 if filters.problems else 200,
        rows=answer.withdrawals,
        state=request.state,
        next_token=answer.next_page_token,
        sequence=answer.sequence,
        problems=filters.problems,
    )


async def as_csv(visit: Visit) -> Response:
    """Return all pages of the same list as a file."""
    filters = Filters(visit)
    request = _request(visit, filters)
    if filters.problems:
        raise HTTPException(400)
    request.page_size, request.page_token = 1_000, ""
    ledger = visit.ledger
    formats = Formats(
        visit.language, visit.console.zone, await visit.console.currencies.of(ledger), visit.now
    )

    async def rows() -> AsyncIterator[Sequence[csv_lists.Cell]]:
        pager = ledger.client.withdrawals.list_withdrawals(request, metadata=ledger.metadata)
        async for each in pager:
            yield (
                each.withdrawal_id,
                Text(each.player_id),
                formats.plain(each.amount_minor, each.currency_code),
                each.currency_code,
                m.WithdrawalState.Name(each.state),
                Text(each.provider),
                Text(each.provider_ref),
                Text(each.destination),
                Text(each.reference),
                iso(each.request_time),
                iso(each.approve_time),
                iso(each.paid_time),
            )

    header = "withdrawal_id,player_id,amount,currency,state,provider,provider_ref,destination,reference"
    times = ("request_time", "approve_time", "paid_time")
    return csv_answer(visit, "withdrawals", [*header.split(","), *times], rows())


async def one(visit: Visit) -> Response:
    """Show one withdrawal with all that a reviewer needs."""
    return await _shown(visit, problem="", typed={}, status=200)


async def act(visit: Visit, form: dict[str, str]) -> Response:
    """Ask the ledger to approve, reject or cancel; then show the withdrawal as the ledger has it."""
    name, withdrawal_id = visit.request.path_params["act"], visit.request.path_params["withdrawal"]
    if name not in _ACTS:
        raise HTTPException(404)
    key, note = key_of(form), form.get("note", "").strip()
    ledger = visit.ledger
    if name != "approve" and not note:
        return await _shown(visit, problem=visit.say(_NEEDS_REASON), typed={**form, "act": name}, status=422)
    common: dict[str, Any] = {
        "tenant_id": visit.tenant_id,
        "withdrawal_id": withdrawal_id,
        "idempotency_key": key,
    }
    withdrawals = ledger.client.withdrawals
    try:
        answer: Any
        match name:
            case "approve":
                approval = m.ApproveWithdrawalRequest(**common, reviewer=ledger.person, note=note)
                answer = await ledger.ask(withdrawals.approve_withdrawal, approval)
            case "reject":
                rejection = m.RejectWithdrawalRequest(**common, reviewer=ledger.person, reason=note)
                answer = await ledger.ask(withdrawals.reject_withdrawal, rejection)
            case _:
                taken_back = m.CancelWithdrawalRequest(**common, reason=note)
                answer = await ledger.ask(withdrawals.cancel_withdrawal, taken_back)
    except LedgerError as error:
        if isinstance(error, AccessDenied):
            ledger.forget_access(visit.tenant_id)
        typed = {**form, "act": name, "again": "yes" if error.outcome_unknown or error.retryable else ""}
        problem = visit.say(words.sentence_of(error))
        return await _shown(
            visit, problem=problem, typed=typed, status=words.status_of(error), code=error.reason
        )
    visit.note("replayed" if answer.replayed else _DONE[name])
    return visit.redirect(visit.path("withdrawals", withdrawal_id))


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
        "page_size": _HISTORY,
    }
    # Independent of each other, so they are asked for together; what the person may not read is left out.
    policy, wallet, hold, before, deposits, findings, may = await asyncio.gather(
        _if_allowed(
            ledger.ask(
                ledger.client.withdrawals.get_withdrawal_policy,
                m.GetWithdrawalPolicyRequest(tenant_id=tenant_id),
            )
        ),
        _if_allowed(
            ledger.ask(
                ledger.client.wallets.get_wallet,
                m.GetWalletRequest(tenant_id=tenant_id, player_id=withdrawal.player_id),
            )
        ),
        _if_allowed(
            ledger.ask(
                ledger.client.holds.get_hold,
                m.GetHoldRequest(tenant_id=tenant_id, hold_id=withdrawal.hold_id),
            )
        ),
        _if_allowed(
            ledger.page(ledger.client.withdrawals.list_withdrawals, m.ListWithdrawalsRequest(**about))
        ),
        _if_allowed(ledger.page(ledger.client.deposits.list_deposits, m.ListDepositsRequest(**about))),
        _if_allowed(
            ledger.page(
                ledger.client.findings.list_findings,
                m.ListFindingsRequest(tenant_id=tenant_id, payment_id=withdrawal_id, page_size=_SHOWN),
            )
        ),
        ledger.may(tenant_id, *_ACTS.values()) if to_review else _nothing(),
    )
    others = [] if before is None else [e for e in before.withdrawals if e.withdrawal_id != withdrawal_id]
    return await visit.page(
        "withdrawal.html",
        status,
        w=withdrawal,
        sequence=answer.sequence,
        to_review=to_review,
        may={act: may.get(method, False) for act, method in _ACTS.items()},
        has_approved=any(each.reviewer.lower() == ledger.person.lower() for each in withdrawal.approvals),
        second_from=0
        if policy is None
        else policy.policy.second_review_from_minor.get(withdrawal.currency_code, 0),
        may_cancel=policy is None or policy.policy.player_may_cancel,
        wallet=_wallet_of(wallet, withdrawal.currency_code),
        hold=None if hold is None else hold.hold,
        others=list(reversed(others))[:_SHOWN],
        others_left=len(others) - _SHOWN if before is None or not before.next_page_token else -1,
        known_destinations=sum(
            e.destination == withdrawal.destination and e.state == m.WITHDRAWAL_STATE_PAID for e in others
        ),
        deposits=None if deposits is None else list(reversed(deposits.deposits))[:_SHOWN],
        deposits_left=-1 if deposits is None or deposits.next_page_token else len(deposits.deposits) - _SHOWN,
        findings=None if findings is None else findings.findings,
        history_days=_HISTORY_DAYS,
        keys={name: typed["key"] if _same_again(typed, name) else form_key() for name in _ACTS},
        typed=typed,
        problem=problem,
        code_told=code,
    )


def _same_again(typed: dict[str, str], name: str) -> bool:
    """Whether a form is to be sent again as it was, since what became of it is not known."""
    return bool(typed.get("again")) and typed.get("act") == name


async def _if_allowed(asking: Any) -> Any:
    """Return an answer, or None where the ledger does not let the person have it or has nothing."""
    try:
        return await asking
    except AccessDenied:
        return None
    except LedgerError as error:
        if error.reason.endswith("_NOT_FOUND") or error.kind == "request":
            return None
        raise


async def _nothing() -> dict[str, bool]:
    return dict.fromkeys(_ACTS.values(), False)


def _wallet_of(answer: m.GetWalletResponse | None, currency_code: str) -> m.WalletBalance | None:
    if answer is None:
        return None
    return next((each for each in answer.wallet.balances if each.currency_code == currency_code), None)


PAGES: Final = (
    Page("/t/{tenant}/withdrawals", queue),
    Page("/t/{tenant}/withdrawals.csv", as_csv),
    Page("/t/{tenant}/withdrawals/{withdrawal}", one),
    Page("/t/{tenant}/withdrawals/{withdrawal}/{act}", post=act),
)
