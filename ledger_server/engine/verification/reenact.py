"""Owns the reenactment of records: the command that a record came from, decided again."""

from datetime import datetime

from defter.ledger.v1 import hold_pb2, journal_pb2, posting_pb2

from ledger_server.domain.decisions.replay import Inconsistent, Replay
from ledger_server.domain.ids import TenantIds
from ledger_server.domain.ledger.accounts import AccountKind, AccountState, Direction
from ledger_server.domain.ledger.holds import PAYMENT_OWNER, HoldState
from ledger_server.domain.ledger.transactions import NewPosting, TransactionType
from ledger_server.domain.state.commands import (
    CaptureHold,
    Command,
    ContinueAccount,
    Enforcement,
    ExtendHold,
    ForgetPlayer,
    IncreaseHold,
    OpenAccount,
    PlaceHold,
    PostTransaction,
    ReleaseHold,
    ReverseTransaction,
    SetAccountLimits,
    SetAccountState,
    SetBalanceEnforcement,
)
from ledger_server.domain.state.facts import Fact, FactKind, FindingChanged, RequestRejected
from ledger_server.domain.state.limit_survey import NO_SURVEY
from ledger_server.domain.state.working_set import PostedEntry
from ledger_server.engine.records.adjustments import adjustment_fact
from ledger_server.engine.records.findings import finding_of
from ledger_server.engine.records.journal import account_of_message
from ledger_server.engine.records.payments import payment_fact
from ledger_server.engine.records.times import moment, moment_in

_STATES = {
    "account_frozen": AccountState.FROZEN,
    "account_unfrozen": AccountState.OPEN,
    "account_closed": AccountState.CLOSED,
}


def reenact(
    replay: Replay,
    ids: TenantIds,
    record: journal_pb2.JournalRecord,
    now: datetime,
    original: PostedEntry | None,
) -> Fact:
    """Decide the command of a record again, and return the fact that follows.

    Args:
        now: the record's time.
        original: of a reversal, the transaction that it names, if there is one before it.
    Raises:
        Refused: the rules would have refused it.
        Inconsistent: the journal contradicts itself.
        ValueError: the record has a number without a meaning, such as an unknown type.
    """
    name = record.WhichOneof("fact")
    match name:
        case "tenant_created":
            return replay.begin(Enforcement(record.tenant_created.balance_enforcement), now)
        case "request_rejected":
            rejection = record.request_rejected
            metadata = dict(rejection.metadata)
            return replay.refuse(
                RequestRejected(FactKind.REQUEST_REJECTED, int(rejection.reason), rejection.message, metadata)
            )
        case "hold_expired":
            return replay.expire(_number(ids, record.hold_expired.hold), now)
        case "deposit_changed" | "withdrawal_changed" | "provider_event_recorded" | "withdrawal_policy_set":
            return replay.follow_payment(payment_fact(ids, name, record))
        case "epoch_begun":
            return replay.begin_epoch(record.epoch_begun.epoch)
        case "finding_changed":
            finding = finding_of(ids, record.finding_changed)
            return replay.follow_finding(FindingChanged(FactKind.FINDING_CHANGED, finding))
        case "adjustment_changed" | "adjustment_policy_set":
            return replay.follow_adjustment(adjustment_fact(ids, record))
        case "transaction_posted" if int(record.transaction_posted.type) == TransactionType.CONTINUATION:
            # The first leg is the account that the money leaves; the amount follows from the rules.
            moved = record.transaction_posted.postings
            return replay.carry(moved[0].account_id if moved else "", now)
        case None:
            raise Inconsistent("every record says something")
        case _:
            return replay.repeat(_command(replay, ids, name, record, now), now, original)


def reversed_sequence(ids: TenantIds, record: journal_pb2.JournalRecord) -> int | None:
    """Return the sequence of the transaction that a record reverses, if it is a reversal."""
    reverses = record.transaction_posted.reverses_transaction_id
    return ids.transaction_sequence(reverses) if reverses else None


def _command(
    replay: Replay, ids: TenantIds, name: str, record: journal_pb2.JournalRecord, now: datetime
) -> Command:
    if name == "transaction_posted":
        return _post(ids, record.transaction_posted, now)
    if name == "hold_captured":
        return _capture(replay, ids, record.hold_captured, now)
    if name == "balance_enforcement_set":
        told = record.balance_enforcement_set
        switch = told.balance_enforcement_switch if told.HasField("balance_enforcement_switch") else None
        return SetBalanceEnforcement(
            enforcement=Enforcement(told.balance_enforcement),
            reason=None if switch is None else switch.reason,
            force=switch is not None and switch.forced,
            survey=NO_SURVEY,  # the replay has all accounts
        )
    if name == "account_opened":
        account = account_of_message(record.account_opened, record.sequence)
        return OpenAccount(
            account_id=account.account_id,
            kind=account.kind,
            currency=account.currency,
            limits=account.limits,
            metadata=account.metadata,
        )
    if name == "account_continued":
        continued = record.account_continued
        return ContinueAccount(
            account_id=continued.account.account_id,
            successor_id=continued.successor.account_id,
            note=continued.note,
            kind=AccountKind(continued.successor.kind),
            currency=continued.successor.currency_code,
        )
    if name == "player_forgotten":
        forgotten = record.player_forgotten
        return ForgetPlayer(player_id=forgotten.player_id, reason=forgotten.reason)
    changed = getattr(record, name)
    if isinstance(changed, journal_pb2.AccountChanged):
        return _change_account(name, changed)
    assert isinstance(changed, journal_pb2.HoldChanged)
    return _change_hold(replay, ids, name, changed.hold)


def _post(ids: TenantIds, transaction: posting_pb2.Transaction, now: datetime) -> Command:
    effective_time = _effective_time(transaction, now)
    metadata = dict(transaction.metadata)
    if transaction.reverses_transaction_id:
        return ReverseTransaction(
            transaction_id=transaction.reverses_transaction_id,
            sequence=ids.transaction_sequence(transaction.reverses_transaction_id),
            reference=transaction.reference,
            effective_time=effective_time,
            metadata=metadata,
        )
    postings = tuple(
        NewPosting(
            posting.account_id, Direction(posting.direction), posting.amount_minor, posting.currency_code
        )
        for posting in transaction.postings
    )
    kind = TransactionType(transaction.type)
    adjustment: int | None = None
    if transaction.adjustment_id:
        adjustment = ids.adjustment_sequence(transaction.adjustment_id)
        if adjustment is None:
            raise Inconsistent(f"{transaction.adjustment_id!r} is no adjustment of this tenant")
    return PostTransaction(
        kind,
        postings,
        transaction.reference,
        effective_time,
        metadata,
        transaction.outside,
        adjustment=adjustment,
    )


def _effective_time(transaction: posting_pb2.Transaction, now: datetime) -> datetime:
    if transaction.effective_time == transaction.record_time:
        return now
    return moment(transaction.effective_time)


def _capture(replay: Replay, ids: TenantIds, captured: journal_pb2.HoldCaptured, now: datetime) -> Command:
    number = _number(ids, captured.hold)
    before = replay.hold(number)
    transaction = captured.transaction
    return CaptureHold(
        hold_id=captured.hold.hold_id,
        number=number,
        amount=captured.hold.captured_minor - (before.captured if before is not None else 0),
        final=int(captured.hold.state) == HoldState.CAPTURED,
        reference=transaction.reference,
        effective_time=_effective_time(transaction, now),
        metadata=dict(transaction.metadata),
        outside=transaction.outside,
    )


def _change_account(name: str, changed: journal_pb2.AccountChanged) -> Command:
    account_id = changed.account.account_id
    if name == "account_limits_set":
        return SetAccountLimits(account_id=account_id, limits=account_of_message(changed.account, 0).limits)
    return SetAccountState(account_id=account_id, state=_STATES[name], note=changed.note)


def _change_hold(replay: Replay, ids: TenantIds, name: str, hold: hold_pb2.Hold) -> Command:
    expire_time = moment_in(hold, "expire_time")
    if name == "hold_placed":
        return PlaceHold(
            debit_account_id=hold.debit_account_id,
            credit_account_id=hold.credit_account_id,
            amount=hold.amount_minor,
            currency=hold.currency_code,
            expire_time=expire_time,
            type=TransactionType(hold.type),
            reference=hold.reference,
            metadata=dict(hold.metadata),
        )
    number = _number(ids, hold)
    if name == "hold_released":
        # Only the payment may release its hold; the payment's record says that it did.
        return ReleaseHold(hold_id=hold.hold_id, number=number, outside=PAYMENT_OWNER in hold.metadata)
    if name == "hold_extended":
        if expire_time is None:
            raise Inconsistent("a hold is extended to a time")
        return ExtendHold(hold_id=hold.hold_id, number=number, expire_time=expire_time)
    before = replay.hold(number)
    additional = hold.amount_minor - (before.amount if before is not None else 0)
    return IncreaseHold(hold_id=hold.hold_id, number=number, additional=additional)


def _number(ids: TenantIds, hold: hold_pb2.Hold) -> int:
    number = ids.hold_sequence(hold.hold_id)
    if number is None:
        raise Inconsistent(f"{hold.hold_id!r} is no hold of this tenant")
    return number
