"""Owns discrepancies: the class, what both sides say, and the fingerprint by which one is known again."""

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from ledger_server.domain.code import Code
from ledger_server.domain.provider_record import ProviderRecordKind

_FINGERPRINT_BYTES: Final = 16


class FindingClass(Code):
    """What kind of discrepancy it is. Numbers are stored: never reuse one."""

    MISSING_IN_LEDGER = 1
    MISSING_AT_PROVIDER = 2
    AMOUNT_MISMATCH = 3
    CURRENCY_MISMATCH = 4
    STATUS_MISMATCH = 5
    DUPLICATE_IN_LEDGER = 6
    DUPLICATE_AT_PROVIDER = 7
    STALE_PENDING = 8
    ORPHAN_REFUND = 9
    FEE_MISMATCH = 10
    SETTLEMENT_TOTAL_MISMATCH = 11
    UNKNOWN_RECORD_TYPE = 12
    WALLET_OVERDRAWN = 13
    OBJECT_NOT_OURS = 14
    UNKNOWN_HISTORY = 15
    UNREAD_EVENT = 18
    BALANCE_DRIFT = 19


class Severity(Code):
    """How urgent it is."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4


class ClassRule(Struct, frozen=True):
    """What holds for a class.

    Attributes:
        severity: of the class; what a single discrepancy is about may change it (see `Discrepancy.severity`).
        grace: how young a movement may be and still count as in transit.
        of_provider: whether the discrepancy is about the provider's object, and not about the ledger's line.
    """

    severity: Severity
    grace: timedelta
    of_provider: bool = False


_AT_ONCE: Final = timedelta(0)
_WEBHOOK: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)

RULES: Final[Mapping[FindingClass, ClassRule]] = {
    FindingClass.MISSING_IN_LEDGER: ClassRule(Severity.HIGH, _WEBHOOK, of_provider=True),
    FindingClass.MISSING_AT_PROVIDER: ClassRule(Severity.HIGH, _WEBHOOK),
    FindingClass.AMOUNT_MISMATCH: ClassRule(Severity.HIGH, _AT_ONCE),
    FindingClass.CURRENCY_MISMATCH: ClassRule(Severity.CRITICAL, _AT_ONCE),
    FindingClass.STATUS_MISMATCH: ClassRule(Severity.HIGH, _WEBHOOK),
    FindingClass.DUPLICATE_IN_LEDGER: ClassRule(Severity.CRITICAL, _AT_ONCE),
    FindingClass.DUPLICATE_AT_PROVIDER: ClassRule(Severity.CRITICAL, _AT_ONCE, of_provider=True),
    FindingClass.STALE_PENDING: ClassRule(Severity.MEDIUM, _DAY),
    FindingClass.ORPHAN_REFUND: ClassRule(Severity.HIGH, _WEBHOOK, of_provider=True),
    FindingClass.FEE_MISMATCH: ClassRule(Severity.LOW, _DAY),
    FindingClass.SETTLEMENT_TOTAL_MISMATCH: ClassRule(Severity.HIGH, _AT_ONCE, of_provider=True),
    FindingClass.UNKNOWN_RECORD_TYPE: ClassRule(Severity.MEDIUM, _AT_ONCE, of_provider=True),
    FindingClass.WALLET_OVERDRAWN: ClassRule(Severity.HIGH, _AT_ONCE),
    FindingClass.OBJECT_NOT_OURS: ClassRule(Severity.CRITICAL, _AT_ONCE),
    FindingClass.UNKNOWN_HISTORY: ClassRule(Severity.CRITICAL, _AT_ONCE, of_provider=True),
    FindingClass.UNREAD_EVENT: ClassRule(Severity.HIGH, _AT_ONCE, of_provider=True),
    FindingClass.BALANCE_DRIFT: ClassRule(Severity.HIGH, _AT_ONCE),
}
"""One row a class; `docs/operations/reconciliation.md` tells operators the same."""

BLOCK_ENFORCEMENT: Final = frozenset(
    {
        FindingClass.MISSING_IN_LEDGER,
        FindingClass.AMOUNT_MISMATCH,
        FindingClass.CURRENCY_MISMATCH,
        FindingClass.DUPLICATE_IN_LEDGER,
        FindingClass.UNKNOWN_HISTORY,
        FindingClass.UNREAD_EVENT,
        FindingClass.BALANCE_DRIFT,
    }
)
"""Classes that put the ledger's own balances in doubt: money that came and was not booked, was booked twice
or with another amount, may be lost with records, or is another sum in a legacy system. While one is open,
ENFORCED would refuse by a wrong balance. The other classes are about the provider's side, about fees, or
about time."""

TELL_OF_LOSS: Final = frozenset(
    {
        FindingClass.MISSING_IN_LEDGER,
        FindingClass.AMOUNT_MISMATCH,
        FindingClass.STATUS_MISMATCH,
        FindingClass.DUPLICATE_AT_PROVIDER,
        FindingClass.ORPHAN_REFUND,
        FindingClass.OBJECT_NOT_OURS,
        FindingClass.UNKNOWN_HISTORY,
    }
)
"""Classes that tell, after commits may have been lost, of money that a lost record stood for: the provider
has a movement that the ledger lacks, has more of it, knows another end of it, has done it twice, or names an
id of the lost history. Whoever makes calls while one is open may pay a second time. The other classes are
about what the provider lacks, about fees, sums and currencies, or about events that nobody could read."""

LOSS_SEVERITIES: Final = frozenset({Severity.HIGH, Severity.CRITICAL})
"""What is less urgent is no player's money: fees and settlements that the provider lists."""

_UNOWNED: Final = frozenset({ProviderRecordKind.FEE, ProviderRecordKind.OTHER, ProviderRecordKind.SETTLEMENT})


class Side(Struct, frozen=True, kw_only=True):
    """What one side says; minor units, signed as seen from our account at the provider."""

    ref: str
    kind: ProviderRecordKind
    amount: int | None
    currency: str
    state: str
    time: datetime | None
    type: str


class Discrepancy(Struct, frozen=True, kw_only=True):
    """Something that does not agree, as it was seen.

    Attributes:
        payment: our number of the payment; None where the ledger has none.
        withdrawal: whether that is a withdrawal.
        subject_time: when the movement happened that it is about.
    """

    kind: FindingClass
    provider: str
    payment: int | None
    withdrawal: bool
    ledger: Side | None
    remote: Side | None
    currency: str
    description: str
    evidence: Mapping[str, str]
    subject_time: datetime

    @property
    def severity(self) -> Severity:
        """How urgent it is: possible losses by payouts come first, discrepancies without a player last."""
        rule = RULES[self.kind]
        if self.kind is FindingClass.MISSING_AT_PROVIDER and self.withdrawal:
            return Severity.CRITICAL
        if self.kind is FindingClass.MISSING_IN_LEDGER and self.remote and self.remote.kind in _UNOWNED:
            return Severity.MEDIUM
        return rule.severity

    def says_the_same(self, other: "Discrepancy") -> bool:
        """Whether another sight of this discrepancy has the same facts.

        Of a drifted balance the fact is the difference: both sides move on together with every bet, and a
        finding that changed with each of them would never stay as a person has left it.
        """
        if self.kind is FindingClass.BALANCE_DRIFT and other.kind is self.kind:
            return self.fingerprint == other.fingerprint and _drift(self) == _drift(other)
        return self == other

    @property
    def is_of_provider(self) -> bool:
        """Whether it is known again by the provider's side; it may have been seen of another payment."""
        return RULES[self.kind].of_provider or self.ledger is None

    @property
    def fingerprint(self) -> bytes:
        """The identity of the discrepancy: the same when it is seen again, whatever the facts are by then."""
        # Our id of a line is known from the first day; the provider's id may become known later.
        side = self.remote if self.is_of_provider else self.ledger
        subject = (side.kind.name, side.ref) if side is not None else ("", str(self.payment or "-"))
        parts = "\x00".join((self.provider, self.kind.name, *subject, self.currency))
        return hashlib.sha256(parts.encode()).digest()[:_FINGERPRINT_BYTES]


def _drift(seen: Discrepancy) -> tuple[int, bool, bool]:
    """Return by how much the sides differ, and which of them have nothing at all."""
    ledger = None if seen.ledger is None else seen.ledger.amount
    remote = None if seen.remote is None else seen.remote.amount
    return (remote or 0) - (ledger or 0), ledger is None, remote is None
