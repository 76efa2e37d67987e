"""Owns the border of lists and counts of payments: their filters, and what is counted."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final, TypeVar

from defter.payments.v1 import deposit_pb2, withdrawal_pb2

from ledger_server.domain.errors import FieldMalformed, FieldMissing, FieldOutOfRange
from ledger_server.engine.reads.ledger import Span
from ledger_server.rpc.payment_requests import player_id, provider_name
from ledger_server.rpc.read_requests import bound
from ledger_server.rpc.requests import MAX_REFERENCE
from ledger_server.rpc.violations import Violations, members
from ledger_server.store.queries.payments import PaymentFilter

MAX_CURRENCY: Final = 64

_State = TypeVar("_State", bound=IntEnum)
_ListRequest = deposit_pb2.ListDepositsRequest | withdrawal_pb2.ListWithdrawalsRequest
_CountRequest = deposit_pb2.CountDepositsRequest | withdrawal_pb2.CountWithdrawalsRequest


def wanted_payments(
    violations: Violations, message: _ListRequest, kind: int, states: type[_State]
) -> PaymentFilter:
    """Read which payments are listed, and in which order.

    Args:
        kind: `payment_rows.DEPOSIT` or `WITHDRAWAL`.
        states: those of that kind.
    """
    if message.player_id:
        player_id(violations, message.player_id)
    if message.provider:
        provider_name(violations, message.provider)
    violations.text(message.provider_ref, "provider_ref", MAX_REFERENCE)
    violations.text(message.reference, "reference", MAX_REFERENCE)
    violations.text(message.currency_code, "currency_code", MAX_CURRENCY)
    _check_amounts(violations, message)
    return PaymentFilter(
        kind=kind,
        player_id=message.player_id,
        states=_states(violations, message, members(states)),
        provider=message.provider,
        provider_ref=message.provider_ref,
        currency=message.currency_code,
        min_amount=message.min_amount_minor,
        max_amount=message.max_amount_minor,
        reference=message.reference,
        newest_first=message.newest_first,
    )


def ended_span(violations: Violations, message: _CountRequest) -> Span | None:
    """Read of which time payments that have ended are counted; None: none of them."""
    start, end = bound(violations, message, "from_time"), bound(violations, message, "to_time")
    if start is None and end is not None:
        violations.add(FieldMissing(field="from_time"))
    return None if start is None else Span(start, end)


def _states(violations: Violations, message: _ListRequest, known: Mapping[int, _State]) -> frozenset[int]:
    """Read the states that are listed; an unspecified state among several stands for any."""
    if message.state and message.state not in known:
        violations.add(FieldMalformed(field="state"))
    if any(number and number not in known for number in message.states):
        violations.add(FieldMalformed(field="states"))
    asked = {int(number) for number in message.states}
    if 0 in asked:
        return frozenset()
    if message.state:
        asked.add(int(message.state))
    return frozenset(asked & known.keys())


def _check_amounts(violations: Violations, message: _ListRequest) -> None:
    """Check the bounds of amounts, which mean something in one currency only."""
    least, most = message.min_amount_minor, message.max_amount_minor
    if least < 0:
        violations.add(FieldOutOfRange(field="min_amount_minor"))
    if most < 0 or 0 < most < least:
        violations.add(FieldOutOfRange(field="max_amount_minor"))
    if (least or most) and not message.currency_code:
        violations.add(FieldMissing(field="currency_code"))
