"""Owns the choice of the codec for a payment's fact in the journal, there and back."""

from datetime import datetime
from typing import assert_never

from defter.ledger.v1 import journal_pb2
from defter.payments.v1 import payment_pb2 as pb
from google.protobuf.message import Message

from ledger_server.domain.ids import TenantIds
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.withdrawal import Withdrawal
from ledger_server.domain.state.facts import (
    DepositChanged,
    EventRecorded,
    FactKind,
    WithdrawalChanged,
    WithdrawalPolicySet,
)
from ledger_server.engine.records.deposits import deposit_message, deposit_of
from ledger_server.engine.records.events import event_message, event_of
from ledger_server.engine.records.withdrawals import (
    policy_message,
    policy_of_message,
    withdrawal_message,
    withdrawal_of,
)
from ledger_server.store.payment_rows import DEPOSIT

PaymentFact = DepositChanged | WithdrawalChanged | EventRecorded | WithdrawalPolicySet


def payment_content(ids: TenantIds, fact: PaymentFact, record_time: datetime) -> Message:
    """Return the message of a payment's fact."""
    match fact:
        case DepositChanged(deposit=deposit):
            return deposit_message(ids, deposit)
        case WithdrawalChanged(withdrawal=withdrawal):
            return withdrawal_message(ids, withdrawal)
        case EventRecorded(stored=stored):
            return event_message(ids, stored, record_time)
        case WithdrawalPolicySet(policy=policy):
            return policy_message(policy)
        case _:
            assert_never(fact)


def payment_fact(ids: TenantIds, name: str, record: journal_pb2.JournalRecord) -> PaymentFact:
    """Return a payment's fact as a record has it; owed calls are not in the journal.

    Args:
        name: of the record's field that has the fact.
    Raises:
        ValueError: that field does not hold a fact of payments.
    """
    match name:
        case "deposit_changed":
            return DepositChanged(
                FactKind.DEPOSIT_CHANGED, deposit_of(ids, record.deposit_changed), owed=None, discrepancies=()
            )
        case "withdrawal_changed":
            withdrawal = withdrawal_of(ids, record.withdrawal_changed)
            return WithdrawalChanged(FactKind.WITHDRAWAL_CHANGED, withdrawal, owed=None, discrepancies=())
        case "provider_event_recorded":
            stored = event_of(ids, record.provider_event_recorded, b"")
            return EventRecorded(FactKind.PROVIDER_EVENT_RECORDED, stored, discrepancies=(), mended=())
        case "withdrawal_policy_set":
            policy = policy_of_message(record.withdrawal_policy_set)
            return WithdrawalPolicySet(FactKind.WITHDRAWAL_POLICY_SET, policy)
        case _:
            raise ValueError(f"{name!r} is no fact of payments")


def reference_written(kind: int, reference: str) -> bytes:
    """Return the bytes by which the body of a payment tells its reference; empty for none."""
    written = pb.Deposit(reference=reference) if kind == DEPOSIT else pb.Withdrawal(reference=reference)
    return written.SerializeToString()


def reference_in(kind: int, body: bytes) -> str:
    """Return the reference in the body of a payment."""
    return (pb.Deposit if kind == DEPOSIT else pb.Withdrawal).FromString(body).reference


def payment_of(ids: TenantIds, kind: int, body: bytes) -> Deposit | Withdrawal:
    """Return the payment in a stored row."""
    if kind == DEPOSIT:
        return deposit_of(ids, pb.Deposit.FromString(body))
    return withdrawal_of(ids, pb.Withdrawal.FromString(body))
