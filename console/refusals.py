"""Owns what a person is told of a refusal of the ledger: a sentence, and the status of the page."""

from collections.abc import Mapping
from typing import Final

import grpc

from console.catalogue import N_
from defter_client import LedgerError

_REASONS: Final[Mapping[str, str]] = {
    "SECOND_REVIEWER_REQUIRED": N_("You have approved it already. A second person has to approve it too."),
    "ILLEGAL_TRANSITION": N_(
        "It has moved on meanwhile, so this can't be done any more. It is shown as it stands now."
    ),
    "DEPOSIT_NOT_FOUND": N_("There is no such deposit."),
    "PROVIDER_EVENT_NOT_FOUND": N_("There is no such event."),
    "EVENT_CANNOT_SUPERSEDE": N_(
        "It can't have become that one: it is the same event, of another provider account, or not read."
    ),
    "REFUND_EXCEEDS_CAPTURED": N_("This is more than is left to refund."),
    "INSUFFICIENT_FUNDS": N_(
        "The player has less than this available: the wallet would fall below its limit."
    ),
    "EPOCH_NOT_CURRENT": N_("The ledger was restored again meanwhile. Look at it anew."),
    "OUTBOUND_NOT_RECONCILED": N_("A provider account was not reconciled since commits may have been lost."),
    "OUTBOUND_FINDINGS_OPEN": N_("Findings that tell of lost money are open."),
    "ADJUSTMENT_NOT_FOUND": N_("There is no such adjustment."),
    "ADJUSTMENT_STATE_MISMATCH": N_(
        "It is not as you have seen it: somebody has decided meanwhile, and nothing was done for you. "
        "It is shown as it stands now; decide again."
    ),
    "SECOND_PERSON_REQUIRED": N_("Another person than you has to approve it: who asked for it can't."),
    "REQUESTER_REQUIRED": N_("Only who asked for it can take it back. You may reject it."),
    "CURRENCY_MISMATCH": N_("The two accounts are not of one currency."),
    "SAME_ACCOUNT": N_("Both sides are the same account."),
    "WITHDRAWAL_STATE_MISMATCH": N_(
        "It is not as you have seen it: somebody has decided meanwhile, and nothing was done for you. "
        "It is shown as it stands now; decide again."
    ),
    "WITHDRAWAL_CLAIMED": N_("Somebody else works on it. Talk to them, or take it over."),
    "TOO_MANY_NOTES": N_("It has as many notes as it can have."),
    "CALL_UNDER_WAY": N_(
        "The provider is being called just now, and nobody can say yet whether it pays. Wait for its answer."
    ),
    "PROVIDER_REF_TAKEN": N_("Another payment has this id at the provider."),
    "WALLET_NOT_FOUND": N_("There is no such player in this tenant, or the player has no wallet yet."),
    "ACCOUNT_NOT_FOUND": N_("There is no such account."),
    "WITHDRAWAL_NOT_FOUND": N_("There is no such withdrawal."),
    "FINDING_NOT_FOUND": N_("There is no such finding."),
    "FINDING_VERSION_MISMATCH": N_(
        "Somebody has changed the finding since you opened it. It is shown as it stands now; decide again."
    ),
    "FINDING_NOT_REPAIRABLE": N_("Nothing can be booked from the provider's record of this finding."),
    "PLAYER_CANCEL_NOT_ALLOWED": N_("Withdrawals of this tenant can't be taken back for the player."),
    "IDEMPOTENCY_KEY_REUSED": N_(
        "This form was sent before with other words. Begin again from the page as it stands now."
    ),
    "PERMISSION_MISSING": N_("The ledger does not let you do this."),
    "PERSON_NOT_PERMITTED": N_("The ledger does not let you do this."),
    "SETTLEMENT_BATCH_NOT_FOUND": N_("There is no such settlement batch."),
    "SETTLEMENT_BATCH_NOT_BALANCED": N_(
        "The batch does not add up to what was paid out, so it can't be confirmed. "
        "It is shown as it stands now."
    ),
    "REPORT_MALFORMED": N_("The ledger does not take this file. Nothing of it was kept."),
    "PROVIDER_UNKNOWN": N_("The ledger has no provider account of this name for this tenant."),
    "RECONCILIATION_UNDER_WAY": N_(
        "Another run of this provider account is under way. Wait until it has ended."
    ),
    "RUN_NOT_FOUND": N_("There is no such run."),
    "ACCOUNT_FROZEN": N_("An account that this would move is frozen."),
    "ACCOUNT_CLOSED": N_("An account that this would move is closed."),
    "TRANSACTION_NOT_FOUND": N_("There is no such transaction."),
    "TENANT_NOT_FOUND": N_("There is no such tenant."),
    "NOT_YET_RECORDED": N_("The time lies in the future."),
}
_KINDS: Final[Mapping[str, str]] = {
    "retry": N_("The ledger can't answer just now. Try again in a moment."),
    "request": N_("The ledger can't read what was sent."),
    "access": N_("The ledger does not let you do this."),
    "refused": N_("The ledger has refused this."),
    "fault": N_("Something failed in the ledger."),
    "": N_("Something failed in the ledger."),
}
_RETRIED: Final = {
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.FAILED_PRECONDITION: 409,
}
"""No outages: a time that lies ahead, and what somebody else does just now."""
_UNKNOWN: Final = N_(
    "It is not known whether this has taken effect. Send the same form again: it is done once at most."
)


def sentence_of(error: LedgerError) -> str:
    """Return what to tell a person of a refusal, in English; `catalogue` translates it."""
    if error.outcome_unknown:
        return _UNKNOWN
    return _REASONS.get(error.reason) or _KINDS.get(error.kind, _KINDS[""])


def status_of(error: LedgerError) -> int:
    """Return the HTTP status of a refusal; 503 is for outages, which alerts count."""
    if error.reason.endswith("_NOT_FOUND"):
        return 404
    if error.kind == "retry":
        return _RETRIED.get(error.code, 503)
    return {"request": 400, "access": 403, "refused": 409}.get(error.kind, 502)
