"""Owns the result of comparing one payment: what agrees, what is in transit, and the discrepancies."""

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct, field

from ledger_server.domain.code import Code
from ledger_server.domain.findings.discrepancy import Discrepancy, FindingClass, Side
from ledger_server.domain.ids import TenantIds
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.withdrawal import Withdrawal
from ledger_server.domain.provider_record import ProviderRecord, ProviderRecordKind
from ledger_server.domain.reconciliation.ledger_side import Booked, Payment
from ledger_server.domain.reconciliation.provider_side import Listed
from ledger_server.domain.reconciliation.scope import Scope

ProviderRecordName = tuple[ProviderRecordKind, str]


class Verdict(Code):
    """What a run concluded about a provider's record; numbers are stored."""

    NOT_COMPARED = 1
    MATCHED = 2
    IN_TRANSIT = 3
    DISCREPANT = 4


class Comparison(Struct, kw_only=True):
    """The result of comparing a payment.

    Attributes:
        matched: how many of the provider's records in the window the ledger has as well.
        in_transit: how many movements of either side are so young that the other side need not have them yet.
        verdicts: on the records that did not simply match.
        ledger_total, remote_total: what moved within the window, minor units by currency.
    """

    matched: int = 0
    in_transit: int = 0
    verdicts: dict[ProviderRecordName, Verdict] = field(default_factory=dict)
    discrepancies: list[Discrepancy] = field(default_factory=list)
    ledger_total: dict[str, int] = field(default_factory=dict)
    remote_total: dict[str, int] = field(default_factory=dict)


class PaymentComparison:
    """The comparison of one payment while it goes on: it collects what is found."""

    def __init__(self, ids: TenantIds, payment: Payment, scope: Scope) -> None:
        self.result = Comparison()
        self.payment = payment
        self.scope = scope
        self._ids = ids

    @property
    def payment_id(self) -> str:
        """Our id of the payment."""
        return self.id_of(self.payment.number)

    def id_of(self, number: int) -> str:
        """Return our id of a payment of the same sort."""
        if isinstance(self.payment, Deposit):
            return self._ids.deposit_id(number)
        return self._ids.withdrawal_id(number)

    def inside(self, records: Iterable[ProviderRecord]) -> list[ProviderRecord]:
        """Return the records that lie in the window."""
        return [record for record in records if self.scope.covers(record.create_time)]

    def wait_for(self, records: Iterable[ProviderRecord], booked_count: int = 0) -> None:
        """Count what is in transit: records, and movements of the ledger."""
        self.result.in_transit += booked_count
        for record in self.inside(records):
            if self.result.verdicts.setdefault(name_of(record), Verdict.IN_TRANSIT) is Verdict.IN_TRANSIT:
                self.result.in_transit += 1

    def report(self, kind: FindingClass, text: str, line: Booked | None, thing: Listed | None) -> None:
        """Report what differs between a line and what is listed of it."""
        ledger = None if line is None else ledger_side(line, self.payment.currency)
        remote = None if thing is None else remote_side(thing.records)
        times = [side.time for side in (remote, ledger) if side is not None and side.time is not None]
        if thing is not None:
            times += [record.create_time for record in thing.records]
        if line is not None:
            times += [moved.time for moved in line.moved if moved.time is not None]
        # The latest time within the window: only a run over that time can tell that the discrepancy is over.
        within = [time for time in times if self.scope.covers(time)]
        self.add(kind, text, ledger, remote, max(within or times[:1] or [self.scope.from_time]))
        self.mark(() if thing is None else thing.records)

    def mark(self, records: Iterable[ProviderRecord]) -> None:
        """Note that a finding is about these records."""
        for record in records:
            if self.result.verdicts.get(name_of(record)) is Verdict.IN_TRANSIT:
                self.result.in_transit -= 1
            self.result.verdicts[name_of(record)] = Verdict.DISCREPANT

    def add(
        self, kind: FindingClass, text: str, ledger: Side | None, remote: Side | None, subject_time: datetime
    ) -> None:
        """Add a discrepancy. Its currency is the payment's, so that its fingerprint stays the same."""
        self.result.discrepancies.append(
            Discrepancy(
                kind=kind,
                provider=self.payment.provider,
                payment=self.payment.number,
                withdrawal=isinstance(self.payment, Withdrawal),
                ledger=ledger,
                remote=remote,
                currency=self.payment.currency,
                description=text,
                subject_time=subject_time,
                evidence={},
            )
        )


def name_of(record: ProviderRecord) -> ProviderRecordName:
    """Return what identifies a provider's record."""
    return record.kind, record.record_id


def remote_side(records: Iterable[ProviderRecord]) -> Side:
    """Return what a provider says of one object, all its movements together."""
    ordered = sorted(records, key=lambda record: (record.create_time, record.record_id))
    newest = ordered[-1]
    amounts = [record.amount for record in ordered]
    return Side(
        # Several captures taken together have the first one's name, so that the name stays the same.
        ref=ordered[0].provider_ref or ordered[0].record_id,
        kind=newest.kind,
        amount=None if None in amounts else sum(amount or 0 for amount in amounts),
        currency=newest.currency,
        state=newest.state.name.lower(),
        time=ordered[0].create_time,
        type=newest.provider_type,
    )


def ledger_side(line: Booked, currency: str) -> Side:
    """Return what the ledger says of one thing."""
    times = [moved.time for moved in line.moved if moved.time is not None]
    return Side(
        ref=line.ref,
        kind=line.kind,
        amount=line.amount,
        currency=currency,
        state=line.state,
        time=min(times, default=line.since),
        type="",
    )
