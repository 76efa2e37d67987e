"""Any deposit, withdrawal, event or policy is read back from its message as it was."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, TypeVar

import pytest
from defter.ledger.v1 import journal_pb2
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from ledger_server.domain.ids import TenantId, TenantIds, tenant_key
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.events import (
    EventState,
    EventType,
    ProviderEvent,
    StoredEvent,
    Unread,
    UnreadReason,
)
from ledger_server.domain.payments.knowledge import (
    Attempt,
    CallState,
    Capture,
    Dispute,
    DisputeState,
    Fee,
    Movement,
    Refund,
    RefundObject,
)
from ledger_server.domain.payments.withdrawal import (
    Approval,
    Claim,
    Payout,
    ReviewNote,
    Withdrawal,
    WithdrawalPolicy,
    WithdrawalState,
)
from ledger_server.domain.state.facts import FactKind, WithdrawalPolicySet
from ledger_server.engine.records.deposits import deposit_message, deposit_of
from ledger_server.engine.records.events import event_message, event_of
from ledger_server.engine.records.payments import payment_fact
from ledger_server.engine.records.withdrawals import (
    policy_message,
    policy_of_message,
    withdrawal_message,
    withdrawal_of,
)
from tests.support.payments import NOW

IDS: Final = TenantIds(tenant_key(TenantId("unit")))
MOST: Final = 2**63 - 1

_Entry = TypeVar("_Entry")
_Message = TypeVar("_Message", bound=Message)

numbers = st.integers(min_value=1, max_value=MOST)
# Of what is summed up there may be several, and each sum has to fit.
amounts = st.integers(min_value=0, max_value=MOST // 16)
signed = st.integers(min_value=-(2**63), max_value=MOST)
texts = st.text(max_size=12)
times = st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001  # the bounds must be naive
some_times = st.none() | times
# The instant that a message's default stands for must not be taken for none at all.
epochs = st.just(datetime(1970, 1, 1, tzinfo=UTC))
maybe_times = some_times | epochs
facts = st.dictionaries(texts, texts, max_size=3)


def some(entry: st.SearchStrategy[_Entry]) -> st.SearchStrategy[tuple[_Entry, ...]]:
    """Return tuples of up to three."""
    return st.lists(entry, max_size=3).map(tuple)


fees = st.builds(Fee, provider_ref=texts, amount=amounts, charge_time=maybe_times)
captures = st.builds(
    Capture,
    provider_ref=texts,
    amount=amounts,
    payment_ref=texts,
    capture_time=maybe_times,
    fail_time=maybe_times,
)
attempts = st.builds(
    Attempt,
    payment_ref=texts,
    authorized=st.booleans(),
    final=st.booleans(),
    end_time=maybe_times,
    reason=texts,
    answered=st.booleans(),
)
refund_objects = st.builds(
    RefundObject,
    provider_ref=texts,
    told=amounts,
    succeed_time=maybe_times,
    fail_time=maybe_times,
    reason=texts,
)
refunds = st.builds(
    Refund,
    number=st.none() | numbers,
    provider_ref=texts,
    amount=amounts,
    told=amounts,
    hold=st.none() | numbers,
    call_state=st.sampled_from(CallState),
    reason=texts,
    succeed_time=maybe_times,
    fail_time=maybe_times,
    others=some(refund_objects),
    hold_ended=st.booleans(),
)
payouts = st.builds(
    Payout,
    # What was told without naming a payout stands beside them.
    provider_ref=st.text(min_size=1, max_size=12),
    amount=amounts,
    paid_time=maybe_times,
    fail_time=maybe_times,
    answered=st.booleans(),
    by_hand=st.booleans(),
)
movements = st.builds(Movement, stage=texts, reinstated=st.booleans(), amount=amounts, move_time=maybe_times)
disputes = st.builds(
    Dispute,
    provider_ref=texts,
    state=st.sampled_from(DisputeState),
    movements=some(movements),
    reason=texts,
)
deposits = st.builds(
    Deposit,
    number=numbers,
    player_id=texts,
    provider=texts,
    provider_ref=texts,
    amount=amounts,
    currency=texts,
    hold=numbers,
    call_state=st.sampled_from(CallState),
    reference=texts,
    metadata=facts,
    initiate_time=times,
    update_time=times,
    balance_after=signed,
    authorized=st.booleans(),
    closed=st.booleans(),
    failed=st.booleans(),
    failure_reason=texts,
    payment_url=texts,
    payment_ref=texts,
    attempts=some(attempts),
    captures=some(captures),
    refunds=some(refunds),
    disputes=some(disputes),
    fees=some(fees),
)
withdrawals = st.builds(
    Withdrawal,
    number=numbers,
    player_id=texts,
    provider=texts,
    provider_ref=texts,
    amount=amounts,
    currency=texts,
    destination=texts,
    hold=numbers,
    review=st.sampled_from(WithdrawalState),
    call_state=st.sampled_from(CallState),
    reference=texts,
    metadata=facts,
    request_time=times,
    update_time=times,
    balance_after=signed,
    approvals=some(st.builds(Approval, reviewer=texts, time=times, note=texts, identity=texts)),
    reviewer=texts,
    reason=texts,
    paid=amounts,
    paid_time=maybe_times,
    fail_time=maybe_times,
    payouts=st.lists(payouts, max_size=3, unique_by=lambda payout: payout.provider_ref).map(tuple),
    hold_ended=st.booleans(),
    fees=some(fees),
    personal=st.binary(max_size=12),
    claim=st.none()
    | st.builds(Claim, reviewer=texts, identity=texts, time=times | epochs, expire_time=times | epochs),
    notes=some(st.builds(ReviewNote, reviewer=texts, identity=texts, time=times | epochs, text=texts)),
)
policies = st.builds(
    WithdrawalPolicy,
    player_may_cancel=st.booleans(),
    second_review_from=st.dictionaries(texts, amounts, max_size=3),
)


@st.composite
def stored_events(draw: st.DrawFn) -> StoredEvent:
    """Draw a stored event; the numbers that it names are those of the ids that the provider echoed."""
    payment = draw(st.none() | numbers)
    made = draw(st.sampled_from([IDS.deposit_id, IDS.withdrawal_id]))
    foreign = draw(st.sampled_from(["", "dep_of_somebody_else", "wd_"]))
    refund = draw(st.none() | numbers)
    event = ProviderEvent(
        provider=draw(texts),
        event_id=draw(texts),
        type=draw(st.sampled_from(EventType)),
        provider_type=draw(texts),
        payment_ref=draw(texts),
        payment_id=foreign if payment is None else made(payment),
        payment=payment,
        object_ref=draw(texts),
        object_id="" if refund is None else IDS.refund_id(refund),
        refund=refund,
        provider_amount=draw(st.none() | signed),
        amount=draw(st.none() | signed),
        problem=draw(texts),
        currency=draw(texts),
        occur_time=draw(times | epochs),
        final=draw(st.booleans()),
        stage=draw(texts),
        reason=draw(texts),
        payload=draw(st.binary(max_size=20)),
        unread=draw(
            st.none()
            | st.builds(
                Unread, reason=st.sampled_from(UnreadReason), moves_money=st.booleans(), read_event_id=texts
            )
        ),
        delivery=draw(texts),
    )
    applied_to = draw(st.none() | numbers)
    return StoredEvent(
        number=draw(numbers),
        event=event,
        state=draw(st.sampled_from(EventState)),
        payment=applied_to,
        withdrawal=applied_to is not None and draw(st.booleans()),
        note=draw(texts),
        receive_time=draw(times | epochs),
        payload_digest=draw(st.binary(max_size=32)),
        superseded_by=draw(st.none() | numbers),
    )


def through_bytes(message: _Message) -> _Message:
    """Return a message as somebody reads it who was sent its bytes."""
    return type(message).FromString(message.SerializeToString(deterministic=True))


@given(deposits)
def test_read_any_deposit_message_returns_the_deposit(deposit: Deposit) -> None:
    """Nothing that is known of a deposit is lost in the journal or its row."""
    assert deposit_of(IDS, through_bytes(deposit_message(IDS, deposit))) == deposit


@given(withdrawals)
def test_read_any_withdrawal_message_returns_the_withdrawal(withdrawal: Withdrawal) -> None:
    """Nothing that is known of a withdrawal is lost in the journal or its row."""
    assert withdrawal_of(IDS, through_bytes(withdrawal_message(IDS, withdrawal))) == withdrawal


@given(stored_events())
def test_read_any_event_message_returns_the_stored_event(stored: StoredEvent) -> None:
    """The payload stands beside the message; everything else is in it."""
    message = through_bytes(event_message(IDS, stored, NOW))
    assert event_of(IDS, message, stored.event.payload) == stored


@given(policies)
def test_read_any_policy_message_returns_the_policy(policy: WithdrawalPolicy) -> None:
    """What a tenant demands is kept to the letter."""
    assert policy_of_message(through_bytes(policy_message(policy))) == policy


@pytest.mark.parametrize("name", ["finding_changed", "hold_placed", "unheard_of", ""])
def test_read_fact_of_other_record_is_refused(name: str) -> None:
    """What is no fact of payments is not taken for a policy."""
    with pytest.raises(ValueError, match="no fact of payments"):
        payment_fact(IDS, name, journal_pb2.JournalRecord())


def test_read_fact_of_policy_is_that_policy() -> None:
    """A policy is read by the name of its field."""
    policy = WithdrawalPolicy(player_may_cancel=True, second_review_from={})
    record = journal_pb2.JournalRecord(withdrawal_policy_set=policy_message(policy))

    fact = payment_fact(IDS, "withdrawal_policy_set", record)

    assert fact == WithdrawalPolicySet(FactKind.WITHDRAWAL_POLICY_SET, policy)
