"""Owns the border of payments: checks the shape of requests, and makes commands of them.

The content of an event is taken as it is: an amount without an exact value here, or an id that is not ours,
is a fact about the event and no reason to refuse it.
"""

import copy
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final, NamedTuple

from defter.payments.v1 import deposit_pb2, payment_pb2, provider_event_pb2, withdrawal_pb2

from ledger_server.domain.errors import (
    BatchSizeOutOfRange,
    FieldMalformed,
    FieldMissing,
    FieldOutOfRange,
    FieldTooLong,
    ProviderCurrencyUnsupported,
    ProviderUnknown,
)
from ledger_server.domain.ids import TenantIds
from ledger_server.domain.ledger.amounts import AmountBounds
from ledger_server.domain.ledger.currency import CurrencyRegistry
from ledger_server.domain.payments.commands import (
    AddWithdrawalNote,
    ApproveWithdrawal,
    CancelWithdrawal,
    ClaimWithdrawal,
    InitiateDeposit,
    MarkWithdrawalPaid,
    RefundDeposit,
    RejectWithdrawal,
    ReplayEvent,
    RequestWithdrawal,
    Seen,
    SetWithdrawalPolicy,
    SupersedeEvent,
)
from ledger_server.domain.payments.events import ProviderEvent
from ledger_server.domain.payments.reviewers import folded
from ledger_server.domain.payments.withdrawal import WithdrawalState
from ledger_server.domain.state.commands import Method, RequestKey
from ledger_server.engine.lane.work import Request
from ledger_server.engine.reconciliation.event_requests import event_request
from ledger_server.engine.records.events import echoed_payment, event_type, unread_of
from ledger_server.engine.records.times import moment
from ledger_server.engine.records.withdrawals import policy_of_message
from ledger_server.rpc.guard import CALLER
from ledger_server.rpc.read_requests import optional_enum
from ledger_server.rpc.requests import MAX_NOTE, MAX_REFERENCE, ids_of, keyed, keyed_violations, request_of
from ledger_server.rpc.violations import MAX_KEY, Violations
from ledger_server.store.payment_rows import DEPOSIT, WITHDRAWAL

MAX_EVENTS: Final = 100
MAX_PAYLOAD: Final = 1024 * 1024
MAX_PLAYER_ID: Final = 64
MAX_PROVIDER: Final = 63
MAX_REVIEWER: Final = 255

_CLAIM_SECONDS: Final = 900
_CLAIM_RANGE: Final = range(60, 86_400 + 1)

# No record has this number.
_NO_NUMBER: Final = -1

_PLAYER_ID: Final = re.compile(r"[A-Za-z0-9_.@-]+")
_PROVIDER: Final = re.compile(r"[a-z][a-z0-9-]*")
_EVENT_TEXTS: Final = (
    "provider_type",
    "payment_ref",
    "payment_id",
    "object_ref",
    "object_id",
    "currency_code",
    "stage",
    "read_event_id",
    "delivery",
)

_PaymentRequest = deposit_pb2.InitiateDepositRequest | withdrawal_pb2.RequestWithdrawalRequest
_ReviewRequest = (
    withdrawal_pb2.ApproveWithdrawalRequest
    | withdrawal_pb2.RejectWithdrawalRequest
    | withdrawal_pb2.CancelWithdrawalRequest
    | withdrawal_pb2.MarkWithdrawalPaidRequest
    | withdrawal_pb2.ClaimWithdrawalRequest
    | withdrawal_pb2.AddWithdrawalNoteRequest
)
_NamedReview = (
    withdrawal_pb2.ApproveWithdrawalRequest
    | withdrawal_pb2.RejectWithdrawalRequest
    | withdrawal_pb2.MarkWithdrawalPaidRequest
    | withdrawal_pb2.ClaimWithdrawalRequest
    | withdrawal_pb2.AddWithdrawalNoteRequest
)


class ProviderAmounts(NamedTuple):
    """Converters between a provider's amounts and the ledger's, by currency.

    All three raise ValueError if an amount has no exact value on the other side, or is not accepted there.
    `tenants` are the tenants that may use the account; None means all.
    """

    to_payment: Callable[[int, str], int]
    to_payout: Callable[[int, str], int]
    from_provider: Callable[[int, str], int]
    tenants: frozenset[str] | None = None


def player_id(violations: Violations, value: str, path: str = "player_id") -> None:
    """Require a well-formed player id."""
    if not value:
        violations.add(FieldMissing(field=path))
    elif len(value) > MAX_PLAYER_ID:
        violations.add(FieldTooLong(field=path, limit=MAX_PLAYER_ID))
    elif not _PLAYER_ID.fullmatch(value):
        violations.add(FieldMalformed(field=path))


def provider_name(violations: Violations, value: str, path: str = "provider") -> bool:
    """Require the well-formed name of a provider account, known or not; return whether it is one."""
    if not value:
        violations.add(FieldMissing(field=path))
    elif len(value) > MAX_PROVIDER:
        violations.add(FieldTooLong(field=path, limit=MAX_PROVIDER))
    elif not _PROVIDER.fullmatch(value):
        violations.add(FieldMalformed(field=path))
    else:
        return True
    return False


def some_text(violations: Violations, value: str, path: str, limit: int) -> None:
    """Require text of at least one character."""
    if value:
        violations.text(value, path, limit)
    else:
        violations.add(FieldMissing(field=path))


def payment_place(ids: TenantIds, payment_id: str) -> tuple[int | None, int | None]:
    """Return the number and kind in a payment's id; None if no payment is asked for."""
    if not payment_id:
        return None, None
    deposit = ids.deposit_sequence(payment_id)
    if deposit is not None:
        return deposit, DEPOSIT
    withdrawal = ids.withdrawal_sequence(payment_id)
    return (_NO_NUMBER if withdrawal is None else withdrawal), WITHDRAWAL


class PaymentReader:
    """Turns messages into commands, by the known currencies and provider accounts."""

    def __init__(
        self,
        currencies: CurrencyRegistry,
        providers: Mapping[str, ProviderAmounts],
        bounds: AmountBounds,
        *,
        deposit_hold: timedelta,
    ) -> None:
        """Take the currencies and the provider accounts.

        Args:
            deposit_hold: how long the money of a begun deposit is expected, and held pending.
        """
        self._currencies = currencies
        self._providers = providers
        self._bounds = bounds
        self._deposit_hold = deposit_hold

    def initiate_deposit(self, message: deposit_pb2.InitiateDepositRequest) -> Request:
        """Read a deposit to begin."""
        violations = self._payment_violations(message)
        violations.text(message.provider_ref, "provider_ref", MAX_REFERENCE)
        violations.check()
        self._check_convertible(message, self._providers[message.provider].to_payment)
        self._check_bound(message)
        command = InitiateDeposit(
            player_id=message.player_id,
            provider=message.provider,
            amount=message.amount_minor,
            currency=message.currency_code,
            provider_ref=message.provider_ref,
            reference=message.reference,
            metadata=dict(message.metadata),
            hold_for=self._deposit_hold,
            max_pending=self._bounds.of(message.currency_code),
        )
        key = RequestKey(Method.InitiateDeposit, message.idempotency_key, message.player_id)
        return request_of(command, key, without_personal(message))

    def refund_deposit(self, message: deposit_pb2.RefundDepositRequest) -> Request:
        """Read a refund to ask for."""
        violations = keyed_violations(message)
        violations.identifier(message.deposit_id, "deposit_id")
        violations.amount(message.amount_minor, "amount_minor")
        violations.check()
        command = RefundDeposit(
            deposit_id=message.deposit_id,
            number=ids_of(message.tenant_id).deposit_sequence(message.deposit_id),
            amount=message.amount_minor,
        )
        return keyed(Method.RefundDeposit, message, message.idempotency_key, command)

    def request_withdrawal(self, message: withdrawal_pb2.RequestWithdrawalRequest) -> Request:
        """Read a withdrawal to hold money for."""
        violations = self._payment_violations(message)
        some_text(violations, message.destination, "destination", MAX_REFERENCE)
        violations.check()
        self._check_convertible(message, self._providers[message.provider].to_payout)
        self._check_bound(message)
        command = RequestWithdrawal(
            player_id=message.player_id,
            provider=message.provider,
            amount=message.amount_minor,
            currency=message.currency_code,
            destination=message.destination,
            reference=message.reference,
            metadata=dict(message.metadata),
        )
        key = RequestKey(Method.RequestWithdrawal, message.idempotency_key, message.player_id)
        return request_of(command, key, without_personal(message))

    def set_policy(self, message: withdrawal_pb2.SetWithdrawalPolicyRequest) -> Request:
        """Read a withdrawal policy."""
        violations = keyed_violations(message)
        if not message.HasField("policy"):
            violations.add(FieldMissing(field="policy"))
        path = "policy.second_review_from_minor"
        amounts = message.policy.second_review_from_minor
        if len(amounts) > len(self._currencies):
            # More currencies than exist can't all be known, and a message has room for so many that checking
            # takes long.
            violations.add(FieldTooLong(field=path, limit=len(self._currencies)))
        else:
            for currency, amount in amounts.items():
                violations.currency(currency, path, self._currencies)
                violations.amount(amount, path)
        violations.check()
        command = SetWithdrawalPolicy(policy=policy_of_message(message.policy))
        return keyed(Method.SetWithdrawalPolicy, message, message.idempotency_key, command)

    def events(self, message: provider_event_pb2.IngestProviderEventsRequest) -> list[Request]:
        """Read the events of a delivery; each is keyed by its provider and its own id."""
        violations = Violations()
        violations.tenant_id(message.tenant_id)
        count = len(message.events)
        if not 1 <= count <= MAX_EVENTS:
            violations.add(BatchSizeOutOfRange(field="events", count=count, limit=MAX_EVENTS))
        for index, event in enumerate(message.events[:MAX_EVENTS]):
            self._check_event(violations, message.tenant_id, event, f"events[{index}].")
        violations.check()
        ids = ids_of(message.tenant_id)
        return [self._ingest(ids, event) for event in message.events]

    def _payment_violations(self, message: _PaymentRequest) -> Violations:
        """Check the fields that all new payments share."""
        violations = keyed_violations(message)
        player_id(violations, message.player_id)
        self._known_provider(violations, message.tenant_id, message.provider, "provider")
        violations.amount(message.amount_minor, "amount_minor")
        violations.currency(message.currency_code, "currency_code", self._currencies)
        violations.text(message.reference, "reference", MAX_REFERENCE)
        violations.metadata(message.metadata, "metadata")
        violations.personal(message.personal_metadata, "personal_metadata")
        return violations

    def _known_provider(self, violations: Violations, tenant_id: str, value: str, path: str) -> None:
        # To other tenants a tenant's own provider account is unknown.
        account = self._providers.get(value)
        known = account is not None and (account.tenants is None or tenant_id in account.tenants)
        if not known and provider_name(violations, value, path):
            violations.add(ProviderUnknown(field=path, provider=value))

    @staticmethod
    def _check_convertible(message: _PaymentRequest, convert: Callable[[int, str], int]) -> None:
        try:
            convert(message.amount_minor, message.currency_code)
        except ValueError as refused:
            raise ProviderCurrencyUnsupported(
                field="amount_minor",
                provider=message.provider,
                currency_code=message.currency_code,
                amount_minor=message.amount_minor,
            ) from refused

    def _check_bound(self, message: _PaymentRequest) -> None:
        violations = Violations()
        violations.bounded(message.amount_minor, "amount_minor", message.currency_code, self._bounds)
        violations.check()

    def _check_event(
        self, violations: Violations, tenant_id: str, event: payment_pb2.ProviderEvent, within: str
    ) -> None:
        self._known_provider(violations, tenant_id, event.provider, f"{within}provider")
        some_text(violations, event.event_id, f"{within}event_id", MAX_KEY)
        if not event.event_id.isprintable():
            violations.add(FieldMalformed(field=f"{within}event_id"))
        for name in _EVENT_TEXTS:
            violations.text(getattr(event, name), within + name, MAX_REFERENCE)
        violations.text(event.reason, f"{within}reason", MAX_NOTE)
        violations.time(event, "occur_time", within=within, required=True)
        if event.unread_reason and event.type:
            violations.add(FieldMalformed(field=f"{within}unread_reason"))
        if len(event.payload) > MAX_PAYLOAD:
            violations.add(FieldTooLong(field=f"{within}payload", limit=MAX_PAYLOAD))

    def _ingest(self, ids: TenantIds, event: payment_pb2.ProviderEvent) -> Request:
        provider_amount = event.provider_amount_minor if event.HasField("provider_amount_minor") else None
        amount, problem = self._amount_of(event)
        return event_request(
            ProviderEvent(
                provider=event.provider,
                event_id=event.event_id,
                type=event_type(event.type),
                provider_type=event.provider_type,
                payment_ref=event.payment_ref,
                payment_id=event.payment_id,
                payment=echoed_payment(ids, event.payment_id),
                object_ref=event.object_ref,
                object_id=event.object_id,
                refund=ids.refund_sequence(event.object_id),
                provider_amount=provider_amount,
                amount=amount,
                problem=problem,
                currency=event.currency_code,
                occur_time=moment(event.occur_time),
                final=event.final,
                stage=event.stage,
                reason=event.reason,
                payload=event.payload,
                unread=unread_of(event),
                delivery=event.delivery,
            )
        )

    def _amount_of(self, event: payment_pb2.ProviderEvent) -> tuple[int | None, str]:
        """Return an event's amount in the ledger's minor units, or why there is none."""
        if not event.HasField("provider_amount_minor"):
            return None, ""
        if not event.currency_code:
            return None, "the amount has no currency"
        convert = self._providers[event.provider].from_provider
        try:
            return convert(event.provider_amount_minor, event.currency_code), ""
        except ValueError as refused:
            return None, str(refused) or "the amount does not convert"


def approve_withdrawal(message: withdrawal_pb2.ApproveWithdrawalRequest) -> Request:
    """Read an approval."""
    violations = _review_violations(message)
    _reviewer(violations, message)
    violations.text(message.note, "note", MAX_NOTE)
    seen = _seen(violations, message)
    violations.check()
    command = ApproveWithdrawal(
        withdrawal_id=message.withdrawal_id,
        number=_withdrawal_number(message),
        reviewer=message.reviewer,
        note=message.note,
        identity=_identity(),
        seen=seen,
    )
    return keyed(Method.ApproveWithdrawal, message, message.idempotency_key, command)


def reject_withdrawal(message: withdrawal_pb2.RejectWithdrawalRequest) -> Request:
    """Read a reviewer's refusal."""
    violations = _review_violations(message)
    _reviewer(violations, message)
    violations.text(message.reason, "reason", MAX_NOTE)
    seen = _seen(violations, message)
    violations.check()
    command = RejectWithdrawal(
        withdrawal_id=message.withdrawal_id,
        number=_withdrawal_number(message),
        reviewer=message.reviewer,
        reason=message.reason,
        seen=seen,
    )
    return keyed(Method.RejectWithdrawal, message, message.idempotency_key, command)


def claim_withdrawal(message: withdrawal_pb2.ClaimWithdrawalRequest) -> Request:
    """Read who works on a withdrawal."""
    violations = _review_violations(message)
    _reviewer(violations, message)
    seconds = message.claim_seconds or _CLAIM_SECONDS
    if seconds not in _CLAIM_RANGE:
        violations.add(FieldOutOfRange(field="claim_seconds"))
    violations.check()
    command = ClaimWithdrawal(
        withdrawal_id=message.withdrawal_id,
        number=_withdrawal_number(message),
        reviewer=message.reviewer,
        identity=_identity(),
        claim_for=None if message.release else timedelta(seconds=seconds),
        take_over=message.take_over,
    )
    return keyed(Method.ClaimWithdrawal, message, message.idempotency_key, command)


def add_withdrawal_note(message: withdrawal_pb2.AddWithdrawalNoteRequest) -> Request:
    """Read a note on a withdrawal."""
    violations = _review_violations(message)
    _reviewer(violations, message)
    some_text(violations, message.text, "text", MAX_NOTE)
    violations.check()
    command = AddWithdrawalNote(
        withdrawal_id=message.withdrawal_id,
        number=_withdrawal_number(message),
        reviewer=message.reviewer,
        identity=_identity(),
        text=message.text,
    )
    return keyed(Method.AddWithdrawalNote, message, message.idempotency_key, command)


def cancel_withdrawal(message: withdrawal_pb2.CancelWithdrawalRequest) -> Request:
    """Read the withdrawal that a player cancels."""
    violations = _review_violations(message)
    violations.text(message.reason, "reason", MAX_NOTE)
    violations.check()
    command = CancelWithdrawal(
        withdrawal_id=message.withdrawal_id,
        number=_withdrawal_number(message),
        reason=message.reason,
    )
    return keyed(Method.CancelWithdrawal, message, message.idempotency_key, command)


def mark_withdrawal_paid(message: withdrawal_pb2.MarkWithdrawalPaidRequest) -> Request:
    """Read a reviewer's word that the provider has paid."""
    violations = _review_violations(message)
    violations.text(message.provider_ref, "provider_ref", MAX_REFERENCE)
    _reviewer(violations, message)
    violations.check()
    command = MarkWithdrawalPaid(
        withdrawal_id=message.withdrawal_id,
        number=_withdrawal_number(message),
        provider_ref=message.provider_ref,
        reviewer=message.reviewer,
    )
    return keyed(Method.MarkWithdrawalPaid, message, message.idempotency_key, command)


def replay_event(message: provider_event_pb2.ReplayProviderEventRequest) -> Request:
    """Read which stored event is to be applied again."""
    violations = keyed_violations(message)
    violations.identifier(message.provider_event_id, "provider_event_id")
    violations.check()
    command = ReplayEvent(
        provider_event_id=message.provider_event_id,
        number=ids_of(message.tenant_id).event_sequence(message.provider_event_id),
    )
    return keyed(Method.ReplayProviderEvent, message, message.idempotency_key, command)


def supersede_event(message: provider_event_pb2.SupersedeProviderEventRequest) -> Request:
    """Read which unread event became which."""
    violations = keyed_violations(message)
    violations.identifier(message.provider_event_id, "provider_event_id")
    violations.identifier(message.superseded_by_event_id, "superseded_by_event_id")
    violations.check()
    ids = ids_of(message.tenant_id)
    command = SupersedeEvent(
        provider_event_id=message.provider_event_id,
        number=ids.event_sequence(message.provider_event_id),
        superseded_by_event_id=message.superseded_by_event_id,
        superseded_by=ids.event_sequence(message.superseded_by_event_id),
    )
    return keyed(Method.SupersedeProviderEvent, message, message.idempotency_key, command)


def without_personal(message: _PaymentRequest) -> _PaymentRequest:
    """Return a request without its personal data.

    A digest of them is kept for ever, and what has little variety could be guessed from it.
    """
    if not message.personal_metadata:
        return message
    rest = copy.deepcopy(message)
    rest.ClearField("personal_metadata")
    return rest


def _review_violations(message: _ReviewRequest) -> Violations:
    violations = keyed_violations(message)
    violations.identifier(message.withdrawal_id, "withdrawal_id")
    return violations


def _reviewer(violations: Violations, message: _NamedReview) -> None:
    """Require a name that can be told from another one."""
    some_text(violations, message.reviewer, "reviewer", MAX_REVIEWER)
    if message.reviewer and len(message.reviewer) <= MAX_REVIEWER and not folded(message.reviewer):
        violations.add(FieldMalformed(field="reviewer"))


def _identity() -> str:
    """Return what proves the reviewer of the call under way; empty where nothing does."""
    caller = CALLER.get()
    return "" if caller is None else caller.identity


def _seen(
    violations: Violations,
    message: withdrawal_pb2.ApproveWithdrawalRequest | withdrawal_pb2.RejectWithdrawalRequest,
) -> Seen:
    """Read how the reviewer has seen the withdrawal."""
    approvals = message.expected_approvals if message.HasField("expected_approvals") else None
    if approvals is not None and approvals < 0:
        violations.add(FieldOutOfRange(field="expected_approvals"))
    state = optional_enum(violations, message.expected_state, "expected_state", WithdrawalState)
    return Seen(state=state, approvals=approvals)


def _withdrawal_number(message: _ReviewRequest) -> int | None:
    return ids_of(message.tenant_id).withdrawal_sequence(message.withdrawal_id)
