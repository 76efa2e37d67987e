"""Owns the rows of payments' facts: payments, provider events and owed calls."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, assert_never

from ledger_server.domain.payments.calls import OwedCall
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.names import names_of
from ledger_server.domain.payments.withdrawal import NO_POLICY, Withdrawal, WithdrawalPolicy
from ledger_server.domain.state.facts import (
    DepositChanged,
    EventRecorded,
    WithdrawalChanged,
    WithdrawalPolicySet,
)

PaymentFact = DepositChanged | WithdrawalChanged | EventRecorded | WithdrawalPolicySet

DEPOSIT: Final = 1
WITHDRAWAL: Final = 2

# The columns behind `tenant_key` with their types, in the order of the rows below.
PAYMENT_TABLES: Final = {
    "payments": {
        "payment_number": "bigint",
        "kind": "smallint",
        "player_id": "text",
        "provider": "text",
        "provider_ref": "text",
        "currency_code": "text",
        "amount": "bigint",
        "state": "smallint",
        "create_time": "timestamptz",
        "update_time": "timestamptz",
        "changed_by": "bigint",
        "body": "bytea",
        "reference": "text",
    },
    "payment_refs": {
        "provider": "text",
        "provider_ref": "text",
        "payment_number": "bigint",
    },
    "provider_events": {
        "event_number": "bigint",
        "provider": "text",
        "event_id": "text",
        "type": "smallint",
        "payment_ref": "text",
        "echoed_number": "bigint",
        "payment_number": "bigint",
        "state": "smallint",
        "receive_time": "timestamptz",
        "update_time": "timestamptz",
        "changed_by": "bigint",
        "payload": "bytea",
        "body": "bytea",
    },
    "outbox": {
        "call_number": "bigint",
        "kind": "smallint",
        "provider": "text",
        "payment_number": "bigint",
        "subject_number": "bigint",
        "open": "boolean",
        "try_count": "bigint",
        "next_try_time": "timestamptz",
        "named_tries": "bigint",
    },
}
# The columns that a later fact may change; of a table without any, the first row stays.
PAYMENT_UPSERTS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "payment_refs": ("provider, provider_ref", ()),
    "payments": (
        "payment_number",
        ("provider_ref", "state", "update_time", "changed_by", "body", "reference"),
    ),
    "provider_events": ("event_number", ("payment_number", "state", "update_time", "changed_by", "body")),
}


class PaymentRows:
    """The rows of one commit, the newest of each payment and event."""

    def __init__(self) -> None:
        self._payments: dict[int, tuple[Any, ...]] = {}
        self._refs: dict[tuple[str, str], tuple[Any, ...]] = {}
        self._events: dict[int, tuple[Any, ...]] = {}
        self._calls: list[tuple[Any, ...]] = []

    @property
    def tables(self) -> dict[str, list[tuple[Any, ...]]]:
        """The rows by table."""
        return {
            "payments": list(self._payments.values()),
            "payment_refs": list(self._refs.values()),
            "provider_events": list(self._events.values()),
            "outbox": self._calls,
        }

    def add(self, fact: PaymentFact, sequence: int, record_time: datetime, content: bytes) -> None:
        """Add what a fact of payments writes.

        Args:
            content: the fact's message, which is kept as the body of its row.
        """
        match fact:
            case DepositChanged(deposit=deposit, owed=owed):
                self._payment(DEPOSIT, deposit, sequence, content)
                self._call(owed, sequence, record_time)
            case WithdrawalChanged(withdrawal=withdrawal, owed=owed):
                self._payment(WITHDRAWAL, withdrawal, sequence, content)
                self._call(owed, sequence, record_time)
            case EventRecorded():
                self._event(fact, sequence, record_time, content)
            case WithdrawalPolicySet():
                pass  # a policy stands in the tenant's row
            case _:
                assert_never(fact)

    def _payment(self, kind: int, payment: Deposit | Withdrawal, sequence: int, content: bytes) -> None:
        for ref in names_of(payment):
            self._refs.setdefault((payment.provider, ref), (payment.provider, ref, payment.number))
        create_time = payment.initiate_time if isinstance(payment, Deposit) else payment.request_time
        self._payments[payment.number] = (
            payment.number,
            kind,
            payment.player_id,
            payment.provider,
            payment.known_ref or None,
            payment.currency,
            payment.amount,
            payment.state,
            create_time,
            payment.update_time,
            sequence,
            content,
            payment.reference,
        )

    def _event(self, fact: EventRecorded, sequence: int, record_time: datetime, content: bytes) -> None:
        stored = fact.stored
        event = stored.event
        self._events[stored.number] = (
            stored.number,
            event.provider,
            event.event_id,
            event.type,
            event.payment_ref or None,
            event.payment,
            stored.payment,
            stored.state,
            stored.receive_time,
            record_time,
            sequence,
            event.payload,
            content,
        )

    def _call(self, owed: OwedCall | None, sequence: int, record_time: datetime) -> None:
        if owed is not None:
            self._calls.append(
                (sequence, owed.kind, owed.provider, owed.payment, owed.subject, True, 0, record_time, 0)
            )


def policy_text(policy: WithdrawalPolicy) -> str:
    """Return a policy as it is stored."""
    return json.dumps(
        {
            "player_may_cancel": policy.player_may_cancel,
            "second_review_from": dict(policy.second_review_from),
        }
    )


def policy_of(text: str | None) -> WithdrawalPolicy:
    """Return the stored policy; the default if none was ever set."""
    if text is None:
        return NO_POLICY
    stored = json.loads(text)
    return WithdrawalPolicy(
        player_may_cancel=stored["player_may_cancel"],
        second_review_from=stored["second_review_from"],
    )
