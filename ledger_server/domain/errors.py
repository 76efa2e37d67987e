"""Owns the refusals of the ledger: one exception per rule, each with its reason and its facts.

The numbers and their order are those of `ErrorReason` in the contract; a test holds the two together.
"""

from enum import IntEnum


class Reason(IntEnum):
    """Why something was refused, in order of precedence (see `error.proto`)."""

    IDENTITY_MISSING = 30
    IDENTITY_GIVEN_TWICE = 31
    CERTIFICATE_NOT_TRUSTED = 32
    CERTIFICATE_EXPIRED = 33
    CERTIFICATE_NOT_YET_VALID = 34
    CERTIFICATE_IDENTITY_UNCLEAR = 35
    TOKEN_OVER_PLAINTEXT = 36
    TOKEN_MALFORMED = 37
    TOKEN_ALGORITHM_REFUSED = 38
    TOKEN_KEY_UNKNOWN = 39
    TOKEN_SIGNATURE_INVALID = 40
    TOKEN_EXPIRED = 41
    TOKEN_NOT_YET_VALID = 42
    TOKEN_ISSUER_OTHER = 43
    TOKEN_AUDIENCE_OTHER = 44
    PERMISSION_MISSING = 45
    PERSON_OTHER = 80
    PERSON_MALFORMED = 81
    PERSON_NOT_PERMITTED = 82
    QUOTA_RATE_EXCEEDED = 46
    QUOTA_CALLS_UNDER_WAY = 47
    QUOTA_BYTES_UNDER_WAY = 48
    QUOTA_READS_WAITING = 49
    MESSAGE_TOO_LARGE = 1
    MALFORMED_MESSAGE = 2
    IDEMPOTENCY_KEY_MISSING = 3
    IDEMPOTENCY_KEY_MALFORMED = 4
    FIELD_MISSING = 5
    FIELD_TOO_LONG = 6
    FIELD_MALFORMED = 7
    FIELD_OUT_OF_RANGE = 8
    BATCH_SIZE_OUT_OF_RANGE = 9
    PAGE_TOKEN_INVALID = 10
    CURRENCY_UNKNOWN = 11
    AMOUNT_NOT_POSITIVE = 12
    POSTING_COUNT_OUT_OF_RANGE = 13
    UNBALANCED_TRANSACTION = 14
    SAME_ACCOUNT = 15
    LIMITS_CONTRADICT = 16
    PROVIDER_UNKNOWN = 17
    PROVIDER_CURRENCY_UNSUPPORTED = 18
    REPORT_MALFORMED = 19
    SNAPSHOT_NOT_ORDERED = 28
    SNAPSHOT_INCOMPLETE = 29
    ACCOUNT_NAME_RESERVED = 23
    AMOUNT_TOO_LARGE = 24
    EXPIRE_TIME_GIVEN_TWICE = 25
    TIME_TO_LIVE_NOT_POSITIVE = 26
    TIME_TO_LIVE_TOO_LONG = 27
    OPENING_BALANCE_NEGATIVE = 84
    OPENING_BALANCE_REPEATED = 85
    CURRENCY_CONTRADICTED = 20
    PERSONAL_KEYS_MISSING = 21
    LANE_FULL = 50
    DEADLINE_PASSED = 51
    SHUTTING_DOWN = 52
    STORE_UNAVAILABLE = 53
    INTERNAL = 54
    CLOCK_ASTRAY = 55
    SERVER_FULL = 91
    READER_TOO_SLOW = 92
    IDEMPOTENCY_KEY_REUSED = 60
    TENANT_NOT_FOUND = 61
    OUTCOME_NOT_FOUND = 62
    NOT_YET_RECORDED = 63
    BATCH_ABORTED = 64
    WALLET_NOT_FOUND = 65
    RECONCILIATION_UNDER_WAY = 66
    RUN_NOT_FOUND = 67
    FINDING_NOT_REPAIRABLE = 68
    SETTLEMENT_BATCH_NOT_FOUND = 69
    SETTLEMENT_BATCH_NOT_BALANCED = 70
    EPOCH_NOT_CURRENT = 73
    OUTBOUND_NOT_RECONCILED = 74
    OPENING_BALANCE_CHANGED = 86
    OPENING_BALANCE_OF_OTHER_IMPORT = 87
    IMPORT_LINES_REFUSED = 88
    CONTROL_SUM_MISMATCH = 89
    IMPORT_CHANGED = 90
    OUTBOUND_FINDINGS_OPEN = 93
    TENANT_ALREADY_EXISTS = 200
    ACCOUNT_ALREADY_EXISTS = 201
    ACCOUNT_NOT_FOUND = 202
    TRANSACTION_NOT_FOUND = 203
    HOLD_NOT_FOUND = 204
    HOLD_ALREADY_CAPTURED = 205
    HOLD_ALREADY_RELEASED = 206
    HOLD_EXPIRED = 207
    CAPTURE_EXCEEDS_HOLD = 208
    EXPIRE_TIME_NOT_LATER = 209
    ALREADY_REVERSED = 210
    REVERSAL_NOT_REVERSIBLE = 211
    ILLEGAL_TRANSITION = 212
    CURRENCY_MISMATCH = 213
    ACCOUNT_CLOSED = 214
    ACCOUNT_FROZEN = 215
    ACCOUNT_NOT_EMPTY = 216
    AMOUNT_OVERFLOW = 217
    INSUFFICIENT_FUNDS = 218
    BALANCE_LIMIT_EXCEEDED = 219
    DEPOSIT_NOT_FOUND = 220
    WITHDRAWAL_NOT_FOUND = 221
    PROVIDER_EVENT_NOT_FOUND = 222
    PROVIDER_REF_TAKEN = 223
    PLAYER_CANCEL_NOT_ALLOWED = 224
    SECOND_REVIEWER_REQUIRED = 225
    CALL_UNDER_WAY = 226
    REFUND_EXCEEDS_CAPTURED = 227
    HOLD_OWNED_BY_PAYMENT = 228
    TRANSACTION_OWNED_BY_PAYMENT = 229
    FINDING_NOT_FOUND = 230
    FINDING_VERSION_MISMATCH = 231
    EVENT_CANNOT_SUPERSEDE = 240
    LIMITS_CONTRADICT_DEFAULT = 245
    ACCOUNT_KIND_MISMATCH = 246
    BEGUN_DEPOSITS_TOO_LARGE = 247
    HOLD_TOO_LARGE = 248
    ACCOUNTS_BELOW_LIMIT = 260
    BLOCKING_FINDINGS_OPEN = 261
    PLAYER_FORGOTTEN = 262
    WITHDRAWAL_STATE_MISMATCH = 263
    WITHDRAWAL_CLAIMED = 264
    TOO_MANY_NOTES = 265
    ADJUSTMENT_NOT_FOUND = 270
    ADJUSTMENT_STATE_MISMATCH = 271
    SECOND_PERSON_REQUIRED = 272
    REQUESTER_REQUIRED = 273
    CONTINUATION_NOT_REVERSIBLE = 241


class Refused(Exception):
    """A request was refused for one reason; nothing was changed, or (see `Undecided`) nobody knows.

    Args:
        metadata: the facts that `error.proto` names at the reason; values become strings.
    """

    reason: Reason
    sentence: str
    retry_seconds: float | None = None
    """After how long the same request may come again, where the ledger asks for that."""

    def __init__(self, **metadata: object) -> None:
        super().__init__(self.sentence)
        self.metadata = {name: str(value) for name, value in metadata.items()}

    @property
    def message(self) -> str:
        """The sentence for a person, with the facts behind it."""
        facts = ", ".join(f"{name}={value}" for name, value in self.metadata.items())
        return f"{self.sentence} ({facts})" if facts else self.sentence


class Recorded(Refused):
    """A refusal read back from the journal, word for word."""

    def __init__(self, reason: Reason, message: str, metadata: dict[str, str]) -> None:
        self.reason = reason
        self.sentence = message
        super().__init__(**metadata)

    @property
    def message(self) -> str:
        """The sentence that was recorded."""
        return self.sentence


class Undecided(Refused):
    """This call decided nothing: its idempotency key is what it was before the call.

    There are three exceptions: after `StoreUnavailable` and `Internal` the request may have taken effect all
    the same, and `IdempotencyKeyReused` says that another request has the key. With a new key a caller might
    pay twice: instead it sends the same request with the same key again, or asks `GetOutcome`.
    """


class Rejected(Refused):
    """A decision against the state of the ledger: final for its key."""


class Unauthenticated(Undecided):
    """Nobody knows who calls."""


class IdentityMissing(Unauthenticated):
    reason = Reason.IDENTITY_MISSING
    sentence = "the call proves no identity: neither a client certificate nor a token"


class IdentityGivenTwice(Unauthenticated):
    reason = Reason.IDENTITY_GIVEN_TWICE
    sentence = "a call proves its identity by a client certificate or by one token, not both"


class CertificateNotTrusted(Unauthenticated):
    reason = Reason.CERTIFICATE_NOT_TRUSTED
    sentence = "the client certificate is not one of the authority in force"


class CertificateExpired(Unauthenticated):
    reason = Reason.CERTIFICATE_EXPIRED
    sentence = "the client certificate has expired"


class CertificateNotYetValid(Unauthenticated):
    reason = Reason.CERTIFICATE_NOT_YET_VALID
    sentence = "the client certificate is not valid yet"


class CertificateIdentityUnclear(Unauthenticated):
    reason = Reason.CERTIFICATE_IDENTITY_UNCLEAR
    sentence = "the client certificate does not name one caller"


class TokenOverPlaintext(Unauthenticated):
    reason = Reason.TOKEN_OVER_PLAINTEXT
    sentence = "a token was sent without TLS, where others could read it: replace it"


class TokenMalformed(Unauthenticated):
    reason = Reason.TOKEN_MALFORMED
    sentence = "the authorization is not a bearer token"


class TokenAlgorithmRefused(Unauthenticated):
    reason = Reason.TOKEN_ALGORITHM_REFUSED
    sentence = "the token's algorithm is not the one of its key"


class TokenKeyUnknown(Unauthenticated):
    reason = Reason.TOKEN_KEY_UNKNOWN
    sentence = "the server has no key of that id"


class TokenSignatureInvalid(Unauthenticated):
    reason = Reason.TOKEN_SIGNATURE_INVALID
    sentence = "the token was not signed by its key"


class TokenExpired(Unauthenticated):
    reason = Reason.TOKEN_EXPIRED
    sentence = "the token has expired"


class TokenNotYetValid(Unauthenticated):
    reason = Reason.TOKEN_NOT_YET_VALID
    sentence = "the token is not valid yet"


class TokenIssuerOther(Unauthenticated):
    reason = Reason.TOKEN_ISSUER_OTHER
    sentence = "the token has another issuer"


class TokenAudienceOther(Unauthenticated):
    reason = Reason.TOKEN_AUDIENCE_OTHER
    sentence = "the token is meant for another audience"


class PermissionMissing(Undecided):
    reason = Reason.PERMISSION_MISSING
    sentence = "no rule of the policy allows the caller this method for this tenant"


class PersonOther(Undecided):
    reason = Reason.PERSON_OTHER
    sentence = "the call names another person than the one who makes it"


class PersonMalformed(Undecided):
    reason = Reason.PERSON_MALFORMED
    sentence = "a person's name is printable ASCII without blanks: the subject of the person's tokens"


class PersonNotPermitted(Undecided):
    reason = Reason.PERSON_NOT_PERMITTED
    sentence = "no rule of the policy lets the caller act for this person by this method for this tenant"


class MessageTooLarge(Undecided):
    reason = Reason.MESSAGE_TOO_LARGE
    sentence = "the message is too large, or the answer to it might be"


class MalformedMessage(Undecided):
    reason = Reason.MALFORMED_MESSAGE
    sentence = "the bytes are no message of the request's type"


class IdempotencyKeyMissing(Undecided):
    reason = Reason.IDEMPOTENCY_KEY_MISSING
    sentence = "a mutating call needs an idempotency key"


class IdempotencyKeyMalformed(Undecided):
    reason = Reason.IDEMPOTENCY_KEY_MALFORMED
    sentence = "an idempotency key is 1 to 255 printable ASCII characters"


class FieldMissing(Undecided):
    reason = Reason.FIELD_MISSING
    sentence = "a required field is missing"


class FieldTooLong(Undecided):
    reason = Reason.FIELD_TOO_LONG
    sentence = "a field is larger than its bound"


class FieldMalformed(Undecided):
    reason = Reason.FIELD_MALFORMED
    sentence = "a field does not have the documented form"


class FieldOutOfRange(Undecided):
    reason = Reason.FIELD_OUT_OF_RANGE
    sentence = "a field lies outside its documented range"


class BatchSizeOutOfRange(Undecided):
    reason = Reason.BATCH_SIZE_OUT_OF_RANGE
    sentence = "a batch is empty or has too many items"


class PageTokenInvalid(Undecided):
    reason = Reason.PAGE_TOKEN_INVALID
    sentence = "the page token was altered or belongs to another list"


class CurrencyUnknown(Undecided):
    reason = Reason.CURRENCY_UNKNOWN
    sentence = "the currency is not in the registry"


class AmountNotPositive(Undecided):
    reason = Reason.AMOUNT_NOT_POSITIVE
    sentence = "an amount must be at least 1 minor unit"


class PostingCountOutOfRange(Undecided):
    reason = Reason.POSTING_COUNT_OUT_OF_RANGE
    sentence = "a transaction has 2 to 1,000 postings"


class UnbalancedTransaction(Undecided):
    reason = Reason.UNBALANCED_TRANSACTION
    sentence = "debits do not equal credits"


class SameAccount(Undecided):
    reason = Reason.SAME_ACCOUNT
    sentence = "an account stands on both sides of a hold or transaction"


class LimitsContradict(Undecided):
    reason = Reason.LIMITS_CONTRADICT
    sentence = "the lower limit lies above the upper limit"


class ProviderUnknown(Undecided):
    reason = Reason.PROVIDER_UNKNOWN
    sentence = "the server has no provider account of that name for this tenant"


class ProviderCurrencyUnsupported(Undecided):
    reason = Reason.PROVIDER_CURRENCY_UNSUPPORTED
    sentence = "the provider does not take that amount of that currency"


class ReportMalformed(Undecided):
    reason = Reason.REPORT_MALFORMED
    sentence = "the settlement report can't be read"


class SnapshotNotOrdered(Undecided):
    reason = Reason.SNAPSHOT_NOT_ORDERED
    sentence = "the balances of a snapshot ascend strictly by player and currency"


class SnapshotIncomplete(Undecided):
    reason = Reason.SNAPSHOT_INCOMPLETE
    sentence = "the snapshot ended early, or has nothing in it"


class AccountNameReserved(Undecided):
    reason = Reason.ACCOUNT_NAME_RESERVED
    sentence = (
        "the name is reserved for an account that payments use, with another kind, currency or spelling"
    )


class AmountTooLarge(Undecided):
    reason = Reason.AMOUNT_TOO_LARGE
    sentence = "the amount is larger than the server takes of that currency"


class ExpireTimeGivenTwice(Undecided):
    reason = Reason.EXPIRE_TIME_GIVEN_TWICE
    sentence = "a hold has an expire time or a time to live, not both"


class TimeToLiveNotPositive(Undecided):
    reason = Reason.TIME_TO_LIVE_NOT_POSITIVE
    sentence = "a time to live must be at least one microsecond"


class TimeToLiveTooLong(Undecided):
    reason = Reason.TIME_TO_LIVE_TOO_LONG
    sentence = "a time to live is at most 36,500 days"


class CurrencyContradicted(Undecided):
    reason = Reason.CURRENCY_CONTRADICTED
    sentence = "the server's settings contradict the decimal places with which the currency is kept"


class PersonalKeysMissing(Undecided):
    reason = Reason.PERSONAL_KEYS_MISSING
    sentence = "the server can't read or keep personal metadata, for want of the key; retry with the same key"


class LaneFull(Undecided):
    reason = Reason.LANE_FULL
    sentence = "the tenant has too much waiting work; retry with the same key"
    retry_seconds = 0.1


class ServerFull(Undecided):
    reason = Reason.SERVER_FULL
    sentence = "the server has too many bytes of requests under way; retry with the same key"
    # What a process has no room for is received all the same, so it should not come back at once.
    retry_seconds = 0.5


class QuotaRateExceeded(Undecided):
    reason = Reason.QUOTA_RATE_EXCEEDED
    sentence = "more calls than the quota has for the time; retry with the same key"
    retry_seconds = 1.0

    def __init__(self, *, retry_seconds: float = 1.0, **metadata: object) -> None:
        """Take the time until the quota has room, in seconds."""
        super().__init__(**metadata)
        self.retry_seconds = retry_seconds


class QuotaCallsUnderWay(Undecided):
    reason = Reason.QUOTA_CALLS_UNDER_WAY
    sentence = "as many calls are under way as the quota has; retry with the same key"
    retry_seconds = 0.1


class QuotaBytesUnderWay(Undecided):
    reason = Reason.QUOTA_BYTES_UNDER_WAY
    sentence = "as many bytes of requests are under way as the quota has; retry with the same key"
    retry_seconds = 0.5


class QuotaReadsWaiting(Undecided):
    reason = Reason.QUOTA_READS_WAITING
    sentence = "too many lists or verifications wait for their turn"
    retry_seconds = 0.5


class ReaderTooSlow(Undecided):
    reason = Reason.READER_TOO_SLOW
    sentence = "the answers were not read for too long; watch again from the last sequence that was read"


class DeadlinePassed(Undecided):
    reason = Reason.DEADLINE_PASSED
    sentence = "the deadline passed before the work was begun"


class ShuttingDown(Undecided):
    reason = Reason.SHUTTING_DOWN
    sentence = "the server is draining; retry with the same key"


class StoreUnavailable(Undecided):
    reason = Reason.STORE_UNAVAILABLE
    sentence = "the database did not answer; the outcome may be unknown, retry with the same key"


class Internal(Undecided):
    reason = Reason.INTERNAL
    sentence = "internal error; the server's log has more under this error_id"


class ClockAstray(Undecided):
    reason = Reason.CLOCK_ASTRAY
    sentence = "the server's clock is off by too much to decide; retry with the same key"


class IdempotencyKeyReused(Undecided):
    reason = Reason.IDEMPOTENCY_KEY_REUSED
    sentence = "the idempotency key was used before with another request"


class TenantNotFound(Undecided):
    reason = Reason.TENANT_NOT_FOUND
    sentence = "no such tenant"


class OutcomeNotFound(Undecided):
    reason = Reason.OUTCOME_NOT_FOUND
    sentence = "nothing was decided for that method and key"


class NotYetRecorded(Undecided):
    """The sequence or instant asked for is still to come, or records of that instant may still follow.

    Args:
        retry_seconds: when an instant may be asked for again; None where nobody knows.
    """

    reason = Reason.NOT_YET_RECORDED
    sentence = "the ledger has not come that far"

    def __init__(self, *, retry_seconds: float | None = None, **metadata: object) -> None:
        super().__init__(**metadata)
        self.retry_seconds = retry_seconds


class BatchAborted(Undecided):
    reason = Reason.BATCH_ABORTED
    sentence = "another item of the atomic batch was refused"


class WalletNotFound(Undecided):
    reason = Reason.WALLET_NOT_FOUND
    sentence = "the player has no account"


class ReconciliationUnderWay(Undecided):
    reason = Reason.RECONCILIATION_UNDER_WAY
    sentence = "another run of that provider account is under way"

    @classmethod
    def of_comparison(cls, source: str, run_id: str) -> "ReconciliationUnderWay":
        """Return the refusal of a comparison, which has a legacy system in place of a provider account."""
        refused = cls(source=source, run_id=run_id)
        refused.sentence = "another comparison with that legacy system is under way"
        return refused


class RunNotFound(Undecided):
    reason = Reason.RUN_NOT_FOUND
    sentence = "no such run"


class FindingNotRepairable(Undecided):
    reason = Reason.FINDING_NOT_REPAIRABLE
    sentence = "no record of the provider says what the finding's payment lacks"


class SettlementBatchNotFound(Undecided):
    reason = Reason.SETTLEMENT_BATCH_NOT_FOUND
    sentence = "no such settlement batch"


class SettlementBatchNotBalanced(Undecided):
    reason = Reason.SETTLEMENT_BATCH_NOT_BALANCED
    sentence = "the batch is in progress, or its lines do not add up to what was paid out"


class EpochNotCurrent(Undecided):
    reason = Reason.EPOCH_NOT_CURRENT
    sentence = "the history of the ledger has another epoch by now"


class OutboundNotReconciled(Undecided):
    reason = Reason.OUTBOUND_NOT_RECONCILED
    sentence = "commits may have been lost, and a provider account was not reconciled since"


class OutboundFindingsOpen(Undecided):
    reason = Reason.OUTBOUND_FINDINGS_OPEN
    sentence = "commits may have been lost, and findings that tell of lost money are open"


class OpeningBalanceNegative(Undecided):
    reason = Reason.OPENING_BALANCE_NEGATIVE
    sentence = "an opening balance can't be negative"


class OpeningBalanceRepeated(Undecided):
    reason = Reason.OPENING_BALANCE_REPEATED
    sentence = "two lines are of the same player and currency"


class OpeningBalanceChanged(Undecided):
    reason = Reason.OPENING_BALANCE_CHANGED
    sentence = "this import has posted another balance before; force posts the difference"


class OpeningBalanceOfOtherImport(Undecided):
    reason = Reason.OPENING_BALANCE_OF_OTHER_IMPORT
    sentence = "another import has posted the player's balance"


class ImportLinesRefused(Undecided):
    reason = Reason.IMPORT_LINES_REFUSED
    sentence = "lines of the import are refused"


class ControlSumMismatch(Undecided):
    reason = Reason.CONTROL_SUM_MISMATCH
    sentence = "the lines do not add up to the control sum; nothing was posted"


class ImportChanged(Undecided):
    reason = Reason.IMPORT_CHANGED
    sentence = "the second pass is not the same as the first"


class TenantAlreadyExists(Rejected):
    reason = Reason.TENANT_ALREADY_EXISTS
    sentence = "the tenant exists"


class AccountAlreadyExists(Rejected):
    reason = Reason.ACCOUNT_ALREADY_EXISTS
    sentence = "the account exists"


class AccountNotFound(Rejected):
    reason = Reason.ACCOUNT_NOT_FOUND
    sentence = "no such account"


class TransactionNotFound(Rejected):
    reason = Reason.TRANSACTION_NOT_FOUND
    sentence = "no such transaction"


class HoldNotFound(Rejected):
    reason = Reason.HOLD_NOT_FOUND
    sentence = "no such hold"


class HoldAlreadyCaptured(Rejected):
    reason = Reason.HOLD_ALREADY_CAPTURED
    sentence = "the hold was captured"


class HoldAlreadyReleased(Rejected):
    reason = Reason.HOLD_ALREADY_RELEASED
    sentence = "the hold was released"


class HoldExpired(Rejected):
    reason = Reason.HOLD_EXPIRED
    sentence = "the hold has expired"


class CaptureExceedsHold(Rejected):
    reason = Reason.CAPTURE_EXCEEDS_HOLD
    sentence = "the capture is larger than what is still held"


class ExpireTimeNotLater(Rejected):
    reason = Reason.EXPIRE_TIME_NOT_LATER
    sentence = "the expire time must be later than now and than the present one"


class AlreadyReversed(Rejected):
    reason = Reason.ALREADY_REVERSED
    sentence = "the transaction was reversed before"


class ReversalNotReversible(Rejected):
    reason = Reason.REVERSAL_NOT_REVERSIBLE
    sentence = "a reversal can't be reversed"


class IllegalTransition(Rejected):
    reason = Reason.ILLEGAL_TRANSITION
    sentence = "the state does not allow that step"


class CurrencyMismatch(Rejected):
    reason = Reason.CURRENCY_MISMATCH
    sentence = "the posting's currency is not its account's"


class AccountClosed(Rejected):
    reason = Reason.ACCOUNT_CLOSED
    sentence = "the account is closed"


class AccountFrozen(Rejected):
    reason = Reason.ACCOUNT_FROZEN
    sentence = "the account is frozen and takes nothing that lowers it"


class AccountNotEmpty(Rejected):
    reason = Reason.ACCOUNT_NOT_EMPTY
    sentence = "the account still has posted or pending money"


class AmountOverflow(Rejected):
    reason = Reason.AMOUNT_OVERFLOW
    sentence = "a side of the account would count more than 2^63-1 minor units: continue it (ContinueAccount)"


class InsufficientFunds(Rejected):
    reason = Reason.INSUFFICIENT_FUNDS
    sentence = "the available balance would fall below the account's lower limit"


class BalanceLimitExceeded(Rejected):
    reason = Reason.BALANCE_LIMIT_EXCEEDED
    sentence = "the balance would rise above the account's upper limit"


class DepositNotFound(Rejected):
    reason = Reason.DEPOSIT_NOT_FOUND
    sentence = "no such deposit"


class WithdrawalNotFound(Rejected):
    reason = Reason.WITHDRAWAL_NOT_FOUND
    sentence = "no such withdrawal"


class ProviderEventNotFound(Rejected):
    reason = Reason.PROVIDER_EVENT_NOT_FOUND
    sentence = "no such provider event"


class EventCannotSupersede(Rejected):
    reason = Reason.EVENT_CANNOT_SUPERSEDE
    sentence = "that is not what the unread event has become"


class ProviderRefTaken(Rejected):
    reason = Reason.PROVIDER_REF_TAKEN
    sentence = "another payment of that provider account has this ref"


class PlayerCancelNotAllowed(Rejected):
    reason = Reason.PLAYER_CANCEL_NOT_ALLOWED
    sentence = "the tenant does not let players take a withdrawal back"


class SecondReviewerRequired(Rejected):
    reason = Reason.SECOND_REVIEWER_REQUIRED
    sentence = "the second approval must come from another reviewer"


class WithdrawalStateMismatch(Rejected):
    reason = Reason.WITHDRAWAL_STATE_MISMATCH
    sentence = "the withdrawal is not as the reviewer has seen it"


class WithdrawalClaimed(Rejected):
    reason = Reason.WITHDRAWAL_CLAIMED
    sentence = "somebody else works on the withdrawal"


class TooManyNotes(Rejected):
    reason = Reason.TOO_MANY_NOTES
    sentence = "the withdrawal has as many notes as it can have"


class CallUnderWay(Rejected):
    reason = Reason.CALL_UNDER_WAY
    sentence = "the provider was called and its answer is being found out"


class RefundExceedsCaptured(Rejected):
    reason = Reason.REFUND_EXCEEDS_CAPTURED
    sentence = "the refund is larger than what may still be refunded"


class HoldOwnedByPayment(Rejected):
    reason = Reason.HOLD_OWNED_BY_PAYMENT
    sentence = "the hold belongs to a payment and ends with it"


class TransactionOwnedByPayment(Rejected):
    reason = Reason.TRANSACTION_OWNED_BY_PAYMENT
    sentence = "the transaction belongs to a payment, which alone may take it back"


class AdjustmentNotFound(Rejected):
    reason = Reason.ADJUSTMENT_NOT_FOUND
    sentence = "no such adjustment"


class AdjustmentStateMismatch(Rejected):
    reason = Reason.ADJUSTMENT_STATE_MISMATCH
    sentence = "the adjustment is not in the state in which it was seen"


class SecondPersonRequired(Rejected):
    reason = Reason.SECOND_PERSON_REQUIRED
    sentence = "an adjustment is approved by another person than who asked, and by nobody twice"


class RequesterRequired(Rejected):
    reason = Reason.REQUESTER_REQUIRED
    sentence = "only the person who asked for an adjustment takes it back"


class FindingNotFound(Rejected):
    reason = Reason.FINDING_NOT_FOUND
    sentence = "no such finding"


class FindingVersionMismatch(Rejected):
    reason = Reason.FINDING_VERSION_MISMATCH
    sentence = "the finding has changed since it was read"


class LimitsContradictDefault(Rejected):
    reason = Reason.LIMITS_CONTRADICT_DEFAULT
    sentence = "the upper limit lies below the lower limit that accounts of that kind have by default"


class AccountKindMismatch(Rejected):
    reason = Reason.ACCOUNT_KIND_MISMATCH
    sentence = "an account that the payment needs was opened with another kind"


class BegunDepositsTooLarge(Rejected):
    reason = Reason.BEGUN_DEPOSITS_TOO_LARGE
    sentence = "what is pending into the wallet would be more than one amount may be"


class HoldTooLarge(Rejected):
    reason = Reason.HOLD_TOO_LARGE
    sentence = "the hold would be larger than the server takes of its currency"


class AccountsBelowLimit(Rejected):
    reason = Reason.ACCOUNTS_BELOW_LIMIT
    sentence = "accounts stand below their lower limit"


class BlockingFindingsOpen(Rejected):
    reason = Reason.BLOCKING_FINDINGS_OPEN
    sentence = "findings are open that put balances in doubt"


class ContinuationNotReversible(Rejected):
    reason = Reason.CONTINUATION_NOT_REVERSIBLE
    sentence = "the transaction moved what a continued account left, which is not taken back"


class ForgottenPlayer(Rejected):
    reason = Reason.PLAYER_FORGOTTEN
    sentence = "the player was forgotten, and no personal metadata is taken for them any more"
