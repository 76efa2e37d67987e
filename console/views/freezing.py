"""Owns freezing and unfreezing: one account of a player or all, with a reason, and told one by one."""

import hashlib
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from console import refusals, words
from console.catalogue import N_
from console.forms import key_of
from console.pages import Page
from console.player_accounts import PlayerAccount
from console.views.players import ACTS, Told, accounts_asked, shown
from console.visit import Visit
from defter_client import AccessDenied, LedgerError
from defter_client import messages as m

_MOST_NOTE: Final = 512
_DONE: Final = {"freeze": "frozen", "unfreeze": "unfrozen"}
_NEEDS_REASON: Final = N_("Say why: whoever unfreezes it has to know.")
_NO_ACCOUNT: Final = N_("Choose an account of this player.")
_TOO_MANY: Final = N_("The player has more accounts than can be asked for at once. Choose them one by one.")
_WAS_SO: Final = N_("It was so already; nothing was changed.")
_IN_PART: Final = N_("Not all of it was done: each account is told below.")


async def act(visit: Visit, form: dict[str, str]) -> Response:
    """Ask the ledger to freeze or unfreeze accounts, each by a key of its own; then show the player."""
    name, player_id = visit.request.path_params["act"], visit.request.path_params["player"]
    if name not in ACTS:
        raise HTTPException(404)
    key, note, wanted = key_of(form), form.get("note", "").strip()[:_MOST_NOTE], form.get("account", "")
    typed = {**form, "act": name}
    if not note:
        return await shown(visit, Told(problem=visit.say(_NEEDS_REASON), typed=typed), 422)
    found = await accounts_asked(visit, player_id)
    accounts = [each for each in found.known if not each.is_closed]
    if wanted == "all" and found.more:
        return await shown(visit, Told(problem=visit.say(_TOO_MANY), typed=typed), 422)
    if wanted != "all":
        accounts = [each for each in accounts if each.account_id == wanted]
    if not accounts:
        return await shown(visit, Told(problem=visit.say(_NO_ACCOUNT), typed=typed), 422)
    failed: list[LedgerError] = []
    results, is_replayed = [], True
    for account in accounts:
        try:
            replayed = await _one(visit, name, account, key, note)
        except LedgerError as error:
            if _is_there(error):
                results.append((account.account_id, visit.say(_WAS_SO), ""))
                continue
            failed.append(error)
            results.append((account.account_id, visit.say(refusals.sentence_of(error)), error.reason))
        else:
            is_replayed = is_replayed and replayed
            results.append((account.account_id, visit.say(words.NOTES[_DONE[name]]), ""))
    if not failed:
        visit.note("replayed" if is_replayed else _DONE[name])
        return visit.redirect(visit.path("players", player_id))
    first = failed[0]
    if isinstance(first, AccessDenied):
        visit.ledger.forget_access(visit.tenant_id)
    told = Told(
        problem=visit.say(_IN_PART if len(results) > 1 else refusals.sentence_of(first)),
        code=first.reason,
        typed=typed,
        again=any(error.outcome_unknown or error.retryable for error in failed),
        results=tuple(results) if len(results) > 1 else (),
    )
    return await shown(visit, told, refusals.status_of(first))


async def _one(visit: Visit, name: str, account: PlayerAccount, key: str, note: str) -> bool:
    """Ask for one account; return whether it was done before by the same form."""
    ledger = visit.ledger
    # The form has one key. Each account has its own, which the same form makes again.
    own = f"{key}.{hashlib.sha256(account.account_id.encode()).hexdigest()[:32]}"
    common: dict[str, Any] = {
        "tenant_id": visit.tenant_id,
        "idempotency_key": own,
        "account_id": account.account_id,
        "note": note,
    }
    answer: Any
    if name == "freeze":
        answer = await ledger.ask(ledger.client.accounts.freeze_account, m.FreezeAccountRequest(**common))
    else:
        answer = await ledger.ask(ledger.client.accounts.unfreeze_account, m.UnfreezeAccountRequest(**common))
    return bool(answer.replayed)


def _is_there(error: LedgerError) -> bool:
    """Whether a refusal says no more than that it is as was wanted."""
    told = error.metadata
    return error.reason == "ILLEGAL_TRANSITION" and "from" in told and told["from"] == told.get("to")


PAGES: Final = (Page("/t/{tenant}/players/{player}/{act}", post=act),)
