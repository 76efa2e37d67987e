"""Owns the words for what the contract has as codes, such as states and classes, and for what was done."""

from collections.abc import Mapping
from typing import Final

from console.catalogue import N_
from defter_client import messages as m

WITHDRAWAL_STATES: Final[Mapping[int, str]] = {
    m.WITHDRAWAL_STATE_REQUESTED: N_("to review"),
    m.WITHDRAWAL_STATE_APPROVED: N_("approved, not paid yet"),
    m.WITHDRAWAL_STATE_PAID: N_("paid"),
    m.WITHDRAWAL_STATE_REJECTED: N_("rejected"),
    m.WITHDRAWAL_STATE_CANCELLED: N_("cancelled"),
    m.WITHDRAWAL_STATE_FAILED: N_("failed at the provider"),
    m.WITHDRAWAL_STATE_REVERSED: N_("paid and came back"),
}
DEPOSIT_STATES: Final[Mapping[int, str]] = {
    m.DEPOSIT_STATE_INITIATED: N_("begun"),
    m.DEPOSIT_STATE_AUTHORIZED: N_("reserved by the provider"),
    m.DEPOSIT_STATE_CAPTURED: N_("credited"),
    m.DEPOSIT_STATE_FAILED: N_("failed"),
    m.DEPOSIT_STATE_PARTIALLY_REFUNDED: N_("refunded in part"),
    m.DEPOSIT_STATE_REFUNDED: N_("refunded"),
    m.DEPOSIT_STATE_REVERSED: N_("taken back"),
}
REFUND_STATES: Final[Mapping[int, str]] = {
    m.REFUND_STATE_PENDING: N_("asked for, not done yet"),
    m.REFUND_STATE_SUCCEEDED: N_("refunded"),
    m.REFUND_STATE_FAILED: N_("refused, or came back"),
}
DISPUTE_STATES: Final[Mapping[int, str]] = {
    m.DISPUTE_STATE_OPEN: N_("dispute under way"),
    m.DISPUTE_STATE_WON: N_("dispute won"),
    m.DISPUTE_STATE_LOST: N_("dispute lost"),
}
EVENT_STATES: Final[Mapping[int, str]] = {
    m.PROVIDER_EVENT_STATE_APPLIED: N_("has had its effect"),
    m.PROVIDER_EVENT_STATE_PARKED: N_("parked"),
    m.PROVIDER_EVENT_STATE_IGNORED: N_("says nothing about money"),
    m.PROVIDER_EVENT_STATE_CONTRADICTED: N_("contradicts the books"),
    m.PROVIDER_EVENT_STATE_UNREAD: N_("could not be read"),
    m.PROVIDER_EVENT_STATE_SUPERSEDED: N_("replaced by another event"),
}
PAYMENT_TRANSACTIONS: Final[Mapping[int, str]] = {
    m.TRANSACTION_TYPE_DEPOSIT: N_("deposit"),
    m.TRANSACTION_TYPE_WITHDRAWAL: N_("withdrawal"),
    m.TRANSACTION_TYPE_REFUND: N_("refund"),
    m.TRANSACTION_TYPE_DISPUTE: N_("dispute"),
    m.TRANSACTION_TYPE_FEE: N_("fee"),
}
"""Those that payments make."""
EVENT_FATES: Final[Mapping[int, str]] = {
    m.PROVIDER_EVENT_STATE_APPLIED: N_("What it says is in the books, or was there already."),
    m.PROVIDER_EVENT_STATE_PARKED: N_(
        "Its payment or its money is not known yet. It is tried again by itself; nothing has to be done."
    ),
    m.PROVIDER_EVENT_STATE_IGNORED: N_("It is stored, and moves no money."),
    m.PROVIDER_EVENT_STATE_CONTRADICTED: N_("It could not be booked; a finding says what it contradicts."),
    m.PROVIDER_EVENT_STATE_UNREAD: N_(
        "It is genuine, but its form is not known here. If it may move money, a finding says so."
    ),
    m.PROVIDER_EVENT_STATE_SUPERSEDED: N_("What it says stands in the event that it became."),
}
"""What a state means, in a sentence."""
EVENT_TYPES: Final[Mapping[int, str]] = {
    m.PROVIDER_EVENT_TYPE_UNSPECIFIED: N_("something without a meaning for money"),
    m.PROVIDER_EVENT_TYPE_PAYMENT_AUTHORIZED: N_("money reserved"),
    m.PROVIDER_EVENT_TYPE_PAYMENT_CAPTURED: N_("money taken"),
    m.PROVIDER_EVENT_TYPE_PAYMENT_ATTEMPT_FAILED: N_("one try failed"),
    m.PROVIDER_EVENT_TYPE_PAYMENT_FAILED: N_("payment cancelled or expired"),
    m.PROVIDER_EVENT_TYPE_CAPTURE_FAILED: N_("taken money failed"),
    m.PROVIDER_EVENT_TYPE_REFUND_PENDING: N_("refund begun"),
    m.PROVIDER_EVENT_TYPE_REFUND_SUCCEEDED: N_("refund has left"),
    m.PROVIDER_EVENT_TYPE_REFUND_FAILED: N_("refund refused, or came back"),
    m.PROVIDER_EVENT_TYPE_DISPUTE_OPENED: N_("dispute opened or going on"),
    m.PROVIDER_EVENT_TYPE_DISPUTE_FUNDS_WITHDRAWN: N_("dispute took money"),
    m.PROVIDER_EVENT_TYPE_DISPUTE_FUNDS_REINSTATED: N_("dispute gave money back"),
    m.PROVIDER_EVENT_TYPE_DISPUTE_WON: N_("dispute won"),
    m.PROVIDER_EVENT_TYPE_DISPUTE_LOST: N_("dispute lost"),
    m.PROVIDER_EVENT_TYPE_FEE_CHARGED: N_("fee kept"),
    m.PROVIDER_EVENT_TYPE_PAYOUT_SUBMITTED: N_("payout taken on"),
    m.PROVIDER_EVENT_TYPE_PAYOUT_PAID: N_("payout paid"),
    m.PROVIDER_EVENT_TYPE_PAYOUT_FAILED: N_("payout failed, or came back"),
    m.PROVIDER_EVENT_TYPE_REFUND_TOTAL: N_("sum of all refunds"),
}
UNREAD_REASONS: Final[Mapping[int, str]] = {
    m.UNREAD_REASON_OTHER: N_("for a reason that is not known here"),
    m.UNREAD_REASON_BODY: N_("its body is no JSON object, or tells no type"),
    m.UNREAD_REASON_TYPE: N_("nobody here knows its type"),
    m.UNREAD_REASON_FIELD: N_("a field is missing, or has an unknown form"),
    m.UNREAD_REASON_VERSION: N_("it is of another version of the provider's interface"),
    m.UNREAD_REASON_ENVIRONMENT: N_("it does not tell whether it is live or a test"),
    m.UNREAD_REASON_UNSIGNED: N_("what it says is not signed"),
}
ADJUSTMENT_STATES: Final[Mapping[int, str]] = {
    m.ADJUSTMENT_STATE_REQUESTED: N_("waits for a second person"),
    m.ADJUSTMENT_STATE_POSTED: N_("posted"),
    m.ADJUSTMENT_STATE_REJECTED: N_("rejected"),
    m.ADJUSTMENT_STATE_CANCELLED: N_("taken back"),
}
CALL_STATES: Final[Mapping[int, str]] = {
    m.CALL_STATE_UNSPECIFIED: N_("no call to the provider"),
    m.CALL_STATE_PENDING: N_("the provider will be called"),
    m.CALL_STATE_ACCEPTED: N_("the provider has taken it on"),
    m.CALL_STATE_REJECTED: N_("the provider has refused it"),
    m.CALL_STATE_UNDER_WAY: N_("called; not answered yet"),
    m.CALL_STATE_DROPPED: N_("given up before it was begun"),
}
HOLD_STATES: Final[Mapping[int, str]] = {
    m.HOLD_STATE_OPEN: N_("held"),
    m.HOLD_STATE_CAPTURED: N_("taken"),
    m.HOLD_STATE_RELEASED: N_("released"),
    m.HOLD_STATE_EXPIRED: N_("expired"),
}
ACCOUNT_KINDS: Final[Mapping[int, str]] = {
    m.ACCOUNT_KIND_ASSET: N_("asset"),
    m.ACCOUNT_KIND_LIABILITY: N_("liability"),
    m.ACCOUNT_KIND_EQUITY: N_("equity"),
    m.ACCOUNT_KIND_REVENUE: N_("revenue"),
    m.ACCOUNT_KIND_EXPENSE: N_("expense"),
}
ACCOUNT_STATES: Final[Mapping[int, str]] = {
    m.ACCOUNT_STATE_OPEN: N_("in use"),
    m.ACCOUNT_STATE_FROZEN: N_("frozen"),
    m.ACCOUNT_STATE_CLOSED: N_("closed for ever"),
}
DIRECTIONS: Final[Mapping[int, str]] = {
    m.DIRECTION_DEBIT: N_("debit"),
    m.DIRECTION_CREDIT: N_("credit"),
}
POSTING_PHASES: Final[Mapping[int, str]] = {
    m.POSTING_PHASE_POSTED: N_("posted"),
    m.POSTING_PHASE_HELD: N_("put on hold"),
    m.POSTING_PHASE_CAPTURED: N_("taken from a hold"),
    m.POSTING_PHASE_RELEASED: N_("hold released"),
    m.POSTING_PHASE_EXPIRED: N_("hold expired"),
}
TRANSACTION_TYPES: Final[Mapping[int, str]] = {
    m.TRANSACTION_TYPE_DEPOSIT: N_("deposit"),
    m.TRANSACTION_TYPE_WITHDRAWAL: N_("withdrawal"),
    m.TRANSACTION_TYPE_ADJUSTMENT: N_("adjustment by hand"),
    m.TRANSACTION_TYPE_REVERSAL: N_("reversal"),
    m.TRANSACTION_TYPE_FEE: N_("fee"),
    m.TRANSACTION_TYPE_TRANSFER: N_("transfer"),
    m.TRANSACTION_TYPE_BET: N_("bet"),
    m.TRANSACTION_TYPE_WIN: N_("win"),
    m.TRANSACTION_TYPE_BONUS: N_("bonus"),
    m.TRANSACTION_TYPE_OPENING_BALANCE: N_("opening balance"),
    m.TRANSACTION_TYPE_REFUND: N_("refund"),
    m.TRANSACTION_TYPE_DISPUTE: N_("dispute"),
    m.TRANSACTION_TYPE_CONTINUATION: N_("moved to the successor"),
}
ENFORCEMENTS: Final[Mapping[int, str]] = {
    m.BALANCE_ENFORCEMENT_SHADOW: N_("limits are only counted"),
    m.BALANCE_ENFORCEMENT_ENFORCED: N_("limits are enforced"),
}
FACTS: Final[Mapping[str, str]] = {
    "tenant_created": N_("tenant created"),
    "balance_enforcement_set": N_("enforcement of limits set"),
    "account_opened": N_("account opened"),
    "account_limits_set": N_("limits of an account set"),
    "account_frozen": N_("account frozen"),
    "account_unfrozen": N_("account unfrozen"),
    "account_closed": N_("account closed"),
    "account_continued": N_("account continued"),
    "transaction_posted": N_("transaction posted"),
    "hold_placed": N_("hold placed"),
    "hold_captured": N_("hold captured"),
    "hold_released": N_("hold released"),
    "hold_extended": N_("hold extended"),
    "hold_increased": N_("hold increased"),
    "hold_expired": N_("hold expired"),
    "request_rejected": N_("request refused"),
    "deposit_changed": N_("deposit changed"),
    "withdrawal_changed": N_("withdrawal changed"),
    "provider_event_recorded": N_("event of a provider recorded"),
    "withdrawal_policy_set": N_("rules for withdrawals set"),
    "finding_changed": N_("finding changed"),
    "adjustment_changed": N_("adjustment changed"),
    "adjustment_policy_set": N_("rules for adjustments set"),
    "epoch_begun": N_("new history begun"),
    "player_forgotten": N_("player forgotten"),
}
"""What a record of the journal tells, by the field of its fact."""
STATEMENT_TYPES: Final[Mapping[int, tuple[str, str]]] = {
    m.TRANSACTION_TYPE_DEPOSIT: (N_("Deposit"), N_("Deposit taken back")),
    m.TRANSACTION_TYPE_WITHDRAWAL: (N_("Withdrawal came back"), N_("Withdrawal")),
    m.TRANSACTION_TYPE_ADJUSTMENT: (N_("Adjustment, credited"), N_("Adjustment, taken")),
    m.TRANSACTION_TYPE_REVERSAL: (N_("Reversal, credited"), N_("Reversal, taken")),
    m.TRANSACTION_TYPE_FEE: (N_("Fee given back"), N_("Fee")),
    m.TRANSACTION_TYPE_TRANSFER: (N_("Transfer in"), N_("Transfer out")),
    m.TRANSACTION_TYPE_BET: (N_("Stake given back"), N_("Stake")),
    m.TRANSACTION_TYPE_WIN: (N_("Win"), N_("Win taken back")),
    m.TRANSACTION_TYPE_BONUS: (N_("Bonus"), N_("Bonus taken back")),
    m.TRANSACTION_TYPE_OPENING_BALANCE: (N_("Opening balance"), N_("Opening balance, owed")),
    m.TRANSACTION_TYPE_REFUND: (N_("Refund given back"), N_("Refund")),
    m.TRANSACTION_TYPE_DISPUTE: (N_("Chargeback given back"), N_("Chargeback")),
    m.TRANSACTION_TYPE_CONTINUATION: (
        N_("Taken over from the account before"),
        N_("Moved to the account behind"),
    ),
}
"""What a posted line did: where it raised the balance, and where it lowered it."""
STATEMENT_PHASES: Final[Mapping[int, tuple[str, str]]] = {
    m.POSTING_PHASE_HELD: (N_("Money is on its way in"), N_("Hold placed")),
    m.POSTING_PHASE_RELEASED: (N_("Nothing is on its way in any more"), N_("Hold released")),
    m.POSTING_PHASE_EXPIRED: (N_("Nothing is on its way in any more"), N_("Hold expired")),
}
"""What a line did that only changed pending money: on its way in, and out."""
FINDING_STATES: Final[Mapping[int, str]] = {
    m.FINDING_STATE_OPEN: N_("open"),
    m.FINDING_STATE_ACKNOWLEDGED: N_("somebody looks after it"),
    m.FINDING_STATE_RESOLVED: N_("resolved"),
    m.FINDING_STATE_AUTO_RESOLVED: N_("resolved by itself"),
    m.FINDING_STATE_REOPENED: N_("open again"),
}
SEVERITIES: Final[Mapping[int, str]] = {
    m.SEVERITY_LOW: N_("low"),
    m.SEVERITY_MEDIUM: N_("medium"),
    m.SEVERITY_HIGH: N_("high"),
    m.SEVERITY_CRITICAL: N_("critical"),
}
FINDING_CLASSES: Final[Mapping[int, str]] = {
    m.FINDING_CLASS_MISSING_IN_LEDGER: N_("missing in the ledger"),
    m.FINDING_CLASS_MISSING_AT_PROVIDER: N_("missing at the provider"),
    m.FINDING_CLASS_AMOUNT_MISMATCH: N_("amounts differ"),
    m.FINDING_CLASS_CURRENCY_MISMATCH: N_("currencies differ"),
    m.FINDING_CLASS_STATUS_MISMATCH: N_("states differ"),
    m.FINDING_CLASS_DUPLICATE_IN_LEDGER: N_("twice in the ledger"),
    m.FINDING_CLASS_DUPLICATE_AT_PROVIDER: N_("twice at the provider"),
    m.FINDING_CLASS_STALE_PENDING: N_("pending for too long"),
    m.FINDING_CLASS_ORPHAN_REFUND: N_("refund without a payment"),
    m.FINDING_CLASS_FEE_MISMATCH: N_("fees differ"),
    m.FINDING_CLASS_SETTLEMENT_TOTAL_MISMATCH: N_("settlement does not add up"),
    m.FINDING_CLASS_UNKNOWN_RECORD_TYPE: N_("unknown type at the provider"),
    m.FINDING_CLASS_WALLET_OVERDRAWN: N_("wallet below its limit"),
    m.FINDING_CLASS_OBJECT_NOT_OURS: N_("not what was asked for"),
    m.FINDING_CLASS_UNKNOWN_HISTORY: N_("of another history"),
    m.FINDING_CLASS_UNREAD_EVENT: N_("event that could not be read"),
    m.FINDING_CLASS_BALANCE_DRIFT: N_("balance differs from the legacy system"),
}
RESOLUTIONS: Final[Mapping[int, str]] = {
    m.RESOLUTION_REASON_PROVIDER_ERROR: N_("the provider was wrong"),
    m.RESOLUTION_REASON_LEDGER_CORRECTED: N_("the ledger was corrected"),
    m.RESOLUTION_REASON_TIMING: N_("both sides agree by now"),
    m.RESOLUTION_REASON_WRITTEN_OFF: N_("the difference is borne"),
    m.RESOLUTION_REASON_DUPLICATE_OF: N_("another finding is about the same"),
    m.RESOLUTION_REASON_ACCEPTED_DIFFERENCE: N_("it is as it should be"),
    m.RESOLUTION_REASON_FRAUD: N_("somebody has cheated"),
}
RECORD_KINDS: Final[Mapping[int, str]] = {
    m.RECORD_KIND_UNSPECIFIED: "",
    m.RECORD_KIND_PAYMENT: N_("payment"),
    m.RECORD_KIND_PAYOUT: N_("payout"),
    m.RECORD_KIND_REFUND: N_("refund"),
    m.RECORD_KIND_DISPUTE: N_("dispute"),
    m.RECORD_KIND_FEE: N_("fee"),
    m.RECORD_KIND_SETTLEMENT: N_("settlement"),
    m.RECORD_KIND_OTHER: N_("other"),
    m.RECORD_KIND_UNKNOWN: N_("unknown"),
}
BATCH_STATES: Final[Mapping[int, str]] = {
    m.SETTLEMENT_BATCH_STATE_IN_PROGRESS: N_("lines or pay-out still missing"),
    m.SETTLEMENT_BATCH_STATE_BALANCED: N_("adds up, to confirm"),
    m.SETTLEMENT_BATCH_STATE_UNBALANCED: N_("does not add up"),
    m.SETTLEMENT_BATCH_STATE_CONFIRMED: N_("confirmed"),
}
REPORT_FORMATS: Final[Mapping[int, str]] = {
    m.REPORT_FORMAT_STRIPE_PAYOUT_RECONCILIATION: N_("Stripe: payout reconciliation, itemized"),
    m.REPORT_FORMAT_STRIPE_BALANCE_CHANGE: N_("Stripe: balance change from activity, itemized"),
    m.REPORT_FORMAT_ADYEN_SETTLEMENT_DETAILS: N_("Adyen: settlement details"),
}
RUN_STATES: Final[Mapping[int, str]] = {
    m.RUN_STATE_RUNNING: N_("under way"),
    m.RUN_STATE_COMPLETE: N_("complete"),
    m.RUN_STATE_PARTIAL: N_("incomplete: the provider's list broke off"),
    m.RUN_STATE_INTERRUPTED: N_("interrupted"),
}
RUN_STAGES: Final[Mapping[int, str]] = {
    m.RUN_STAGE_FETCHING: N_("reads the provider's records"),
    m.RUN_STAGE_COMPARING: N_("compares payments with records"),
    m.RUN_STAGE_SEEKING_MISSING: N_("looks for what one side lacks"),
    m.RUN_STAGE_RESOLVING: N_("resolves what is seen no more"),
}
NOTES: Final[Mapping[str, str]] = {
    "approved": N_("Your approval is recorded."),
    "rejected": N_("The withdrawal is rejected; the money is the player's again."),
    "cancelled": N_("The withdrawal is cancelled; the money is the player's again."),
    "claimed": N_("It is noted that you work on it."),
    "released": N_("It is noted that nobody works on it."),
    "noted": N_("The note is added."),
    "paid": N_("It is recorded as paid."),
    "policy_set": N_("This is demanded of withdrawals that are asked for or reviewed from now on."),
    "adjustment_requested": N_("It is asked for, and waits for another person. Nothing is posted yet."),
    "adjustment_posted": N_("The adjustment is posted."),
    "adjustment_rejected": N_("The adjustment is rejected; nothing was posted."),
    "adjustment_cancelled": N_("The adjustment is taken back; nothing was posted."),
    "acknowledged": N_("The finding is looked after now."),
    "resolved": N_("The finding is resolved."),
    "reopened": N_("The finding is open again."),
    "repaired": N_("What the provider's record says is booked. The next run resolves the finding."),
    "repaired_before": N_("It was booked before; nothing was booked twice."),
    "refund_asked": N_("The refund is asked for; the provider is called in the background."),
    "event_replayed": N_("The event was applied again; it is shown as it stands now."),
    "event_superseded": N_("It is noted what the event became."),
    "outbound_stopped": N_("All calls to providers are stopped."),
    "outbound_resumed": N_("Calls to providers go on."),
    "confirmed": N_("The batch is confirmed, and what was paid out is booked on the bank's account."),
    "run_begun": N_("The run has begun. It goes on whether or not this page stays open."),
    "run_known": N_("This form has begun the run before; here it is. No second one was begun."),
    "frozen": N_("It is frozen: nothing lowers these accounts until somebody unfreezes them."),
    "unfrozen": N_("It is unfrozen: everything is possible again."),
    "replayed": N_("This was already done by the same form; nothing was done twice."),
}
"""What a page says once behind an act."""
