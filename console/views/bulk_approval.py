"""Owns the approval of several small withdrawals: each was chosen, is shown, and is asked for by itself."""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from console import bulk, refusals
from console.bulk import Chosen
from console.catalogue import N_
from console.forms import FormRefused, form_key, key_of
from console.pages import Page
from console.visit import Visit
from defter_client import AccessDenied, LedgerError
from defter_client import messages as m

_AT_ONCE: Final = 8
_NONE: Final = N_("Choose at least one withdrawal.")
_TOO_MANY: Final = N_("So many can't be approved together. Choose fewer.")
_IN_PART: Final = N_("Not all of them are approved: each is told below.")
_OPEN: Final = N_(
    "Of some it is not known whether they are approved. Send the form again: each is approved once at most."
)
_DONE: Final = N_("approved")
_HALF: Final = N_("your approval is recorded; a second person has to approve it too")
_BEFORE: Final = N_("was done by the same form before")


async def looked_at(visit: Visit, form: dict[str, str]) -> Response:
    """Show what was chosen, as it stands now, with what it amounts to; nothing is done yet."""
    policy = await _policy(visit)
    chosen = _chosen(form)
    problem = _NONE if not chosen else _TOO_MANY if len(chosen) > bulk.MOST else ""
    if problem:
        return await visit.page(
            "bulk.html", 422, rows=[], left_out=[], sums={}, key="", problem=visit.say(problem)
        )
    rows, left_out = [], []
    for each, found in zip(chosen, await _read(visit, chosen), strict=True):
        why = bulk.size_problem(found, visit.console.settings.bulk_most_minor, policy) or bulk.problem(
            found, each, visit.ledger.person, visit.now
        )
        if why:
            left_out.append((found, visit.say(why)))
        else:
            rows.append((found, each))
    return await visit.page(
        "bulk.html",
        rows=rows,
        left_out=left_out,
        sums=bulk.sums(found for found, _ in rows),
        key=form_key(),
        problem="",
    )


async def approved(visit: Visit, form: dict[str, str]) -> Response:
    """Ask the ledger for each approval by a key of its own; tell line by line what became of it."""
    key, note = key_of(form), form.get("note", "").strip()
    policy = await _policy(visit)
    chosen = _chosen(form)
    if not chosen or len(chosen) > bulk.MOST:
        raise FormRefused(400)
    results: list[tuple[m.Withdrawal, str, str, bool]] = []
    again = False
    for each, found in zip(chosen, await _read(visit, chosen), strict=True):
        # What is large is not approved here, whatever a form says. All else the ledger decides.
        if why := bulk.size_problem(found, visit.console.settings.bulk_most_minor, policy):
            results.append((found, visit.say(why), "", False))
            continue
        try:
            sentence = await _approve(visit, each, key, note)
        except LedgerError as error:
            if isinstance(error, AccessDenied):
                visit.ledger.forget_access(visit.tenant_id)
            again = again or error.outcome_unknown or error.retryable
            results.append((found, visit.say(refusals.sentence_of(error)), error.reason, False))
        else:
            results.append((found, visit.say(sentence), "", True))
    failed = sum(not is_done for *_, is_done in results)
    return await visit.page(
        "bulk_results.html",
        503 if again else 409 if failed else 200,
        results=results,
        done=len(results) - failed,
        failed=failed,
        sums=bulk.sums(found for found, _, _, is_done in results if is_done),
        problem=visit.say(_OPEN if again else _IN_PART) if failed else "",
        again=again,
        chosen=chosen,
        key=key,
        note=note,
    )


async def _approve(visit: Visit, each: Chosen, key: str, note: str) -> str:
    ledger = visit.ledger
    # The form has one key. Each withdrawal has its own, which the same form makes again.
    own = f"{key}.{hashlib.sha256(each.withdrawal_id.encode()).hexdigest()[:32]}"
    request = m.ApproveWithdrawalRequest(
        tenant_id=visit.tenant_id,
        idempotency_key=own,
        withdrawal_id=each.withdrawal_id,
        reviewer=ledger.person,
        note=note,
        expected_state=each.state,  # type: ignore[arg-type]  # of the enum, or the ledger refuses it
        expected_approvals=each.approvals,
    )
    answer = await ledger.ask(ledger.client.withdrawals.approve_withdrawal, request)
    if answer.replayed:
        return _BEFORE
    return _HALF if answer.response.withdrawal.state == m.WITHDRAWAL_STATE_REQUESTED else _DONE


def _chosen(form: dict[str, str]) -> list[Chosen]:
    try:
        return bulk.read(form)
    except ValueError:
        raise FormRefused(400) from None


async def _policy(visit: Visit) -> m.WithdrawalPolicy:
    """Return the tenant's policy; without it nobody can say which ones need two people."""
    if not visit.console.settings.bulk_most_minor:
        raise HTTPException(404)
    ledger = visit.ledger
    request = m.GetWithdrawalPolicyRequest(tenant_id=visit.tenant_id)
    return (await ledger.ask(ledger.client.withdrawals.get_withdrawal_policy, request)).policy


async def _read(visit: Visit, chosen: Sequence[Chosen]) -> list[m.Withdrawal]:
    """Return withdrawals as they stand now, in the order of choosing."""
    ledger, room = visit.ledger, asyncio.Semaphore(_AT_ONCE)

    async def one(each: Chosen) -> Any:
        request = m.GetWithdrawalRequest(tenant_id=visit.tenant_id, withdrawal_id=each.withdrawal_id)
        async with room:
            return (await ledger.ask(ledger.client.withdrawals.get_withdrawal, request)).withdrawal

    return list(await asyncio.gather(*(one(each) for each in chosen)))


_BASE: Final = "/t/{tenant}/withdrawals/bulk"
PAGES: Final = (Page(_BASE, post=looked_at), Page(f"{_BASE}/approve", post=approved))
