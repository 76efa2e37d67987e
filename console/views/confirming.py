"""Owns the confirmation of a settlement batch: what the bank says of it, and where it is booked."""

from typing import Final

from starlette.responses import Response

from console import refusals
from console.catalogue import N_
from console.forms import form_key, key_of
from console.ledger import CONFIRM_BATCH
from console.pages import Page
from console.typed_amounts import NotAnAmount, signed_amount
from console.views.allowed import if_allowed
from console.views.settlement import batch_of, name_of, path_of
from console.visit import Visit
from defter_client import AccessDenied, LedgerError
from defter_client import messages as m

_MOST_BANKS: Final = 100
_NEW_BANK: Final = N_(
    "The ledger has no account of this bank in this currency. If it is a new one, say so; if it is misspelt, "
    "mend it: what is booked stays there."
)
_NEEDS_BANK: Final = N_("Say on which account of ours the money has arrived.")
_OTHER_CONFIRMATION: Final = N_(
    "The batch was confirmed before, with another bank or reference, or by somebody else. "
    "Nothing was booked again."
)
_OTHER_AMOUNT: Final = N_(
    "This is not what the provider says it has paid out. Compare with the bank's statement; "
    "if another amount has arrived, ask the provider and do not confirm."
)


async def confirming(visit: Visit) -> Response:
    """Show what a confirmation would book, and ask for what the bank says."""
    return await _confirming(visit, await batch_of(visit), problem="", typed={}, status=200)


async def confirm(visit: Visit, form: dict[str, str]) -> Response:
    """Compare what was typed with what was paid out, and ask the ledger to book it."""
    key_of(form)  # a form of ours; the batch's own name is what makes it one request
    ledger, batch = visit.ledger, await batch_of(visit)
    bank, problem = form.get("bank", "").strip(), ""
    try:
        currencies = await visit.console.currencies.of(ledger)
        told = signed_amount(form.get("amount", ""), visit.language, batch.currency_code, currencies)
        if told != batch.paid_out_minor:
            problem = _OTHER_AMOUNT
    except NotAnAmount as unclear:
        problem = unclear.sentence
    if not bank:
        problem = _NEEDS_BANK
    is_new = bool(bank) and not problem and not await _is_known(visit, bank, batch.currency_code)
    if is_new and form.get("new_bank") != "yes":
        problem = _NEW_BANK
    if problem:
        return await _confirming(
            visit, batch, problem=visit.say(problem), typed=form, status=422, is_new_bank=is_new
        )
    request = m.ConfirmSettlementBatchRequest(
        **name_of(visit), bank=bank, bank_reference=form.get("reference", "").strip(), actor=ledger.person
    )
    try:
        await ledger.ask(ledger.client.settlements.confirm_settlement_batch, request)
    except LedgerError as error:
        if isinstance(error, AccessDenied):
            ledger.forget_access(visit.tenant_id)
        return await _confirming(
            visit,
            await batch_of(visit),
            problem=visit.say(
                _OTHER_CONFIRMATION
                if error.reason == "IDEMPOTENCY_KEY_REUSED"
                else refusals.sentence_of(error)
            ),
            typed=form,
            status=refusals.status_of(error),
            code=error.reason,
        )
    # The answer does not say which call of several it was; the batch as it was before does.
    visit.note("replayed" if batch.state == m.SETTLEMENT_BATCH_STATE_CONFIRMED else "confirmed")
    return visit.redirect(path_of(visit, batch))


async def _confirming(
    visit: Visit,
    batch: m.SettlementBatch,
    *,
    problem: str,
    typed: dict[str, str],
    status: int,
    code: str = "",
    is_new_bank: bool = False,
) -> Response:
    return await visit.page(
        "settlement_confirm.html",
        status,
        b=batch,
        is_confirmable=batch.state == m.SETTLEMENT_BATCH_STATE_BALANCED,
        may_confirm=(await visit.ledger.may(visit.tenant_id, CONFIRM_BATCH))[CONFIRM_BATCH],
        key=form_key(),
        typed=typed,
        problem=problem,
        code_told=code,
        banks=await _banks(visit, batch.currency_code),
        is_new_bank=is_new_bank,
        back=path_of(visit, batch),
    )


async def _is_known(visit: Visit, bank: str, currency: str) -> bool:
    """Whether the ledger has an account of a bank; who may not see accounts has to say that it is new."""
    ledger = visit.ledger
    request = m.GetAccountRequest(tenant_id=visit.tenant_id, account_id=f"bank:{bank}:{currency}")
    return await if_allowed(ledger.ask(ledger.client.accounts.get_account, request)) is not None


async def _banks(visit: Visit, currency: str) -> list[str]:
    """Return the names of banks that have an account in a currency, for the field to offer."""
    ledger = visit.ledger
    request = m.ListAccountsRequest(
        tenant_id=visit.tenant_id, account_id_prefix="bank:", currency_code=currency, page_size=_MOST_BANKS
    )
    page = await if_allowed(ledger.page(ledger.client.accounts.list_accounts, request))
    ids = () if page is None else (each.account.account_id for each in page.accounts)
    return [each.removeprefix("bank:").removesuffix(f":{currency}") for each in ids]


PAGES: Final = (Page("/t/{tenant}/settlement/batch/confirm", confirming, confirm),)
