"""Owns how an adjustment of a player is asked for: typed, seen once more in full, and only then asked."""

from dataclasses import dataclass
from typing import Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from console import refusals
from console.catalogue import N_
from console.forms import FormRefused, form_key, key_of
from console.ledger import REQUEST_ADJUSTMENT
from console.pages import Page
from console.player_accounts import PlayerAccount
from console.typed_amounts import NotAnAmount, typed_amount
from console.views.adjustments import policy_of
from console.views.allowed import if_allowed
from console.views.players import accounts_asked
from console.visit import Visit
from defter_client import AccessDenied, LedgerError
from defter_client import messages as m

_MOST_MINOR: Final = 2**63 - 1
_OFFERED: Final = 100
_HOUSE_KINDS: Final = (m.ACCOUNT_KIND_EXPENSE, m.ACCOUNT_KIND_REVENUE, m.ACCOUNT_KIND_EQUITY)
_FIELDS: Final = ("account", "direction", "amount", "house", "reason", "description", "reference")
_NEEDS_REASON: Final = N_("Say why: whoever approves it decides by that.")
_NEEDS_HOUSE: Final = N_("Name the account on the other side.")
_NO_ACCOUNT: Final = N_("Choose an account of this player.")
DIRECTIONS: Final = {"credit": N_("give to the player"), "debit": N_("take from the player")}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for, as it was typed and as it is asked."""

    typed: dict[str, str]
    account: PlayerAccount
    amount_minor: int

    @property
    def gives(self) -> bool:
        """Whether the player gets it."""
        return self.typed["direction"] == "credit"

    def postings(self) -> list[m.NewPosting]:
        """Return both legs: a wallet grows by credits."""
        sides = (
            (m.DIRECTION_CREDIT, m.DIRECTION_DEBIT) if self.gives else (m.DIRECTION_DEBIT, m.DIRECTION_CREDIT)
        )
        return [
            m.NewPosting(
                account_id=account_id,
                direction=side,
                amount_minor=self.amount_minor,
                currency_code=self.account.currency_code,
            )
            for account_id, side in zip((self.account.account_id, self.typed["house"]), sides, strict=True)
        ]


async def typing(visit: Visit) -> Response:
    """Show the form."""
    return await _typing(visit, dict.fromkeys(_FIELDS, ""))


async def looked_at(visit: Visit, form: dict[str, str]) -> Response:
    """Show what would be asked for, in full; nothing is done yet."""
    typed = {name: form.get(name, "").strip() for name in _FIELDS}
    account = await _account(visit, typed["account"])
    if account is None:
        return await _typing(visit, typed, problem=visit.say(_NO_ACCOUNT), status=422)
    problem = "" if typed["house"] else _NEEDS_HOUSE
    problem = problem or ("" if typed["reason"] else _NEEDS_REASON)
    try:
        currencies = await visit.console.currencies.of(visit.ledger)
        amount_minor = typed_amount(typed["amount"], visit.language, account.currency_code, currencies)
    except NotAnAmount as error:
        return await _typing(visit, typed, problem=visit.say(error.sentence), status=422)
    if problem or typed["direction"] not in DIRECTIONS:
        return await _typing(visit, typed, problem=visit.say(problem), status=422)
    return await _confirming(visit, Wanted(typed, account, amount_minor), key=form_key())


async def confirmed(visit: Visit, form: dict[str, str]) -> Response:
    """Ask the ledger for what was shown; the key is that of the page that showed it."""
    key, amount_minor = key_of(form), _amount_of(form)
    typed = {name: form.get(name, "").strip() for name in _FIELDS}
    account = await _account(visit, typed["account"])
    if account is None or typed["direction"] not in DIRECTIONS:
        raise FormRefused(400)
    wanted, ledger = Wanted(typed, account, amount_minor), visit.ledger
    request = m.RequestAdjustmentRequest(
        tenant_id=visit.tenant_id,
        idempotency_key=key,
        postings=wanted.postings(),
        reason=typed["reason"],
        description=typed["description"],
        reference=typed["reference"],
        actor=ledger.person,
    )
    try:
        answer = await ledger.ask(ledger.client.adjustments.request_adjustment, request)
    except LedgerError as error:
        if isinstance(error, AccessDenied):
            ledger.forget_access(visit.tenant_id)
        problem, status = visit.say(refusals.sentence_of(error)), refusals.status_of(error)
        if error.outcome_unknown or error.retryable:
            return await _confirming(
                visit, wanted, key=key, problem=problem, status=status, code=error.reason
            )
        return await _typing(visit, typed, problem=problem, status=status, code=error.reason)
    found = answer.response.adjustment
    posted = found.state == m.ADJUSTMENT_STATE_POSTED
    visit.note("replayed" if answer.replayed else "adjustment_posted" if posted else "adjustment_requested")
    return visit.redirect(visit.path("adjustments", found.adjustment_id))


def _amount_of(form: dict[str, str]) -> int:
    text = form.get("amount_minor", "")
    if not (text.isascii() and text.isdecimal() and len(text) <= 19 and 0 < int(text) <= _MOST_MINOR):
        raise FormRefused(400)
    return int(text)


async def _account(visit: Visit, wanted: str) -> PlayerAccount | None:
    """Return the account that was chosen, if it is one of this player's."""
    accounts = await accounts_asked(visit, visit.request.path_params["player"])
    return next((each for each in accounts.known if each.account_id == wanted and not each.is_closed), None)


async def _typing(
    visit: Visit, typed: dict[str, str], *, problem: str = "", status: int = 200, code: str = ""
) -> Response:
    player_id = visit.request.path_params["player"]
    accounts = [each for each in (await accounts_asked(visit, player_id)).known if not each.is_closed]
    if not accounts and status == 200:
        raise HTTPException(404)
    return await visit.page(
        "adjust.html",
        status,
        player_id=player_id,
        accounts=accounts,
        houses=await _houses(visit),
        directions=DIRECTIONS,
        typed=typed,
        wanted=None,
        may=(await visit.ledger.may(visit.tenant_id, REQUEST_ADJUSTMENT))[REQUEST_ADJUSTMENT],
        problem=problem,
        code_told=code,
    )


async def _houses(visit: Visit) -> list[str]:
    """Return accounts of the house that may stand on the other side; any other one can be typed."""
    ledger, found = visit.ledger, []
    for kind in _HOUSE_KINDS:
        request = m.ListAccountsRequest(
            tenant_id=visit.tenant_id, kind=kind, state=m.ACCOUNT_STATE_OPEN, page_size=_OFFERED
        )
        page = await if_allowed(ledger.page(ledger.client.accounts.list_accounts, request))
        found += [] if page is None else [item.account.account_id for item in page.accounts]
    return found


async def _confirming(
    visit: Visit, wanted: Wanted, *, key: str, problem: str = "", status: int = 200, code: str = ""
) -> Response:
    policy = await policy_of(visit)
    currency = wanted.account.currency_code
    from_minor = None if policy is None else policy.second_review_from_minor.get(currency, 0)
    return await visit.page(
        "adjust.html",
        status,
        player_id=visit.request.path_params["player"],
        wanted=wanted,
        fields=_FIELDS,
        directions=DIRECTIONS,
        needs_second=from_minor is None or wanted.amount_minor >= from_minor,
        behind_minor=wanted.account.balance.available_balance_minor
        + (wanted.amount_minor if wanted.gives else -wanted.amount_minor),
        key=key,
        problem=problem,
        code_told=code,
    )


_BASE: Final = "/t/{tenant}/players/{player}/adjust"
PAGES: Final = (Page(_BASE, typing, looked_at), Page(f"{_BASE}/confirmed", post=confirmed))
