"""Owns the comparison of one payment with a provider's records of it: pure, line by line, one to one.

A line of the ledger is claimed by one object of the provider at most, and the other way round: by our id or
the provider's first. Lines and objects that are left over belong to the same payment all the same, so they
are paired by amount and then by time; that payment was found by an id, never by a guess.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct, field

from ledger_server.domain.code import Code
from ledger_server.domain.findings.discrepancy import Discrepancy, FindingClass, Side
from ledger_server.domain.ids import TenantIds
from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.payments.withdrawal import Withdrawal
from ledger_server.domain.reconciliation.booked import Booked, Moved, Payment, booked_of
from ledger_server.domain.reconciliation.record import ProviderRecord, RecordKind, RemoteState
from ledger_server.domain.reconciliation.scope import Scope

RecordName = tuple[RecordKind, str]


class Verdict(Code):
    """What a run made of a record; numbers are stored."""

    NOT_COMPARED = 1
    MATCHED = 2
    IN_TRANSIT = 3
    DISCREPANT = 4


class Comparison(Struct, kw_only=True):
    """What came of comparing a payment.

    Attributes:
        matched: how many of the provider's records the ledger has as well.
        in_transit: how many movements of either side are too young to be missed by the other.
        verdicts: of the records that did not simply match.
        ledger_total, remote_total: what moved within the window, minor units by currency.
    """

    matched: int = 0
    in_transit: int = 0
    verdicts: dict[RecordName, Verdict] = field(default_factory=dict)
    discrepancies: list[Discrepancy] = field(default_factory=list)
    ledger_total: dict[str, int] = field(default_factory=dict)
    remote_total: dict[str, int] = field(default_factory=dict)


class _Object(Struct, kw_only=True):
    """All listed movements of one thing at the provider."""

    kind: RecordKind
    ref: str
    records: list[ProviderRecord]

    @property
    def first(self) -> ProviderRecord:
        return self.records[0]

    @property
    def our_id(self) -> str:
        return next((record.our_id for record in self.records if record.our_id), "")

    @property
    def state(self) -> RemoteState:
        return max(self.records, key=lambda record: record.create_time).state

    @property
    def payment_ref(self) -> str:
        return self.first.payment_ref or self.ref


_PAIRED: Final = (RecordKind.PAYMENT, RecordKind.PAYOUT, RecordKind.REFUND, RecordKind.DISPUTE)


def compare(
    ids: TenantIds,
    payment: Payment,
    records: Iterable[ProviderRecord],
    scope: Scope,
    *,
    twin: int | None = None,
) -> Comparison:
    """Compare a payment with the records that were found to be its own.

    Args:
        records: those at the window's edges included.
        twin: another payment that had this one's provider ref before it.
    """
    comparing = _Comparing(ids, payment, scope)
    comparing.compare(records, twin)
    return comparing.result


class _Comparing:
    """The comparison of one payment, as it goes on."""

    def __init__(self, ids: TenantIds, payment: Payment, scope: Scope) -> None:
        self.result = Comparison()
        self._ids = ids
        self._payment = payment
        self._scope = scope

    def compare(self, records: Iterable[ProviderRecord], twin: int | None) -> None:
        payment, scope = self._payment, self._scope
        lines = booked_of(self._ids, payment)
        for line in lines:
            for moved in line.moved:
                if scope.covers(moved.time):
                    _add(self.result.ledger_total, payment.currency, moved.amount)
        objects: dict[RecordKind, dict[str, _Object]] = defaultdict(dict)
        for record in sorted(records, key=lambda each: (each.create_time, each.record_id)):
            if scope.covers(record.create_time) and record.amount is not None:
                _add(self.result.remote_total, record.currency, record.amount)
            found = objects[record.kind].setdefault(
                record.provider_ref, _Object(kind=record.kind, ref=record.provider_ref, records=[])
            )
            found.records.append(record)
        if twin is not None:
            self._duplicate_in_ledger(lines[0], twin)
            return
        by_kind: dict[RecordKind, list[Booked]] = defaultdict(list)
        for line in lines:
            by_kind[line.kind].append(line)
        for kind in _PAIRED:
            self._pair(by_kind[kind], list(objects[kind].values()))
        self._compare_fees(by_kind[RecordKind.FEE], list(objects[RecordKind.FEE].values()))
        for kind in (RecordKind.SETTLEMENT, RecordKind.OTHER, RecordKind.UNKNOWN):
            for thing in objects[kind].values():
                self._ownerless(thing)

    def _pair(self, lines: Sequence[Booked], objects: Sequence[_Object]) -> None:
        """Let each line claim one object at most, then compare pairs and what is left over."""
        claims: dict[int, _Object] = {}
        free = _whole(objects) if len(lines) == 1 and lines[0].kind is RecordKind.PAYMENT else list(objects)
        for named in (_by_provider_id, _by_our_id, _by_amount, _by_place):
            for number, line in enumerate(lines):
                if number in claims:
                    continue
                claimed = next((thing for thing in free if named(line, thing)), None)
                if claimed is not None:
                    claims[number] = claimed
                    free.remove(claimed)
            if named is _by_our_id:
                free = self._without_duplicates(lines, claims, free)
        self._report_double_charges(lines, claims)
        for number, line in enumerate(lines):
            if number in claims:
                self._compare_pair(line, claims[number])
            else:
                self._without_object(line)
        for thing in free:
            self._without_line(thing)

    def _without_duplicates(
        self, lines: Sequence[Booked], claims: Mapping[int, _Object], free: list[_Object]
    ) -> list[_Object]:
        """Report what the provider has done once more for something that is claimed already."""
        rest = []
        for thing in free:
            twins = [
                claimed
                for number, claimed in claims.items()
                if thing.our_id and thing.our_id == lines[number].our_id and _apart(claimed, thing)
            ]
            if twins and self._comparable(thing, patient=False):
                line = next(line for number, line in enumerate(lines) if claims.get(number) is twins[0])
                text = f"done again at the provider: {twins[0].ref} was for the same"
                self._report(FindingClass.DUPLICATE_AT_PROVIDER, text, line, thing)
            elif not twins:
                rest.append(thing)
        return rest

    def _report_double_charges(self, lines: Sequence[Booked], claims: Mapping[int, _Object]) -> None:
        """Report what a player paid twice for one deposit, even if the ledger has booked both."""
        charged: dict[str, int] = {}
        for number, thing in claims.items():
            named = lines[number].kind is RecordKind.PAYMENT and thing.our_id == lines[number].our_id
            if named and lines[number].amount > 0 and thing.state is RemoteState.SUCCEEDED:
                charged.setdefault(thing.payment_ref, number)
        known = [ref for ref in self._payment.refs if ref in charged]
        for ref, number in charged.items():
            first = known[0] if known else next(iter(charged))
            if ref != first and self._inside(claims[number]):
                text = f"done again at the provider: {first} was for the same"
                self._report(FindingClass.DUPLICATE_AT_PROVIDER, text, lines[number], claims[number])

    def _compare_pair(self, line: Booked, thing: _Object) -> None:
        scope = self._scope
        foreign = [record for record in thing.records if record.currency != self._payment.currency]
        inexact = [record for record in thing.records if record.amount is None]
        if foreign or inexact:
            text = "the currencies differ" if foreign else "the provider's amount has no exact value here"
            kind = FindingClass.CURRENCY_MISMATCH if foreign else FindingClass.AMOUNT_MISMATCH
            if self._inside(thing):
                self._report(kind, text, line, thing)
            return
        booked, listed = _unmatched(line.moved, thing.records)
        self.result.matched += len(thing.records) - len(listed)
        booked = [moved for moved in booked if scope.covers(moved.time)]
        # What came in and went out again is nothing, whether or not the ledger has heard of it.
        if sum(record.amount or 0 for record in listed) == 0:
            self.result.matched += len(listed)
            listed = []
        inside = [record for record in listed if scope.covers(record.create_time)]
        if booked and inside:
            self._report(
                FindingClass.AMOUNT_MISMATCH,
                "the amounts differ",
                line,
                thing,
                time=_earliest(booked, inside),
            )
        elif inside:
            self._unheard(line, thing, inside)
        elif booked:
            self._unconfirmed(line, thing, booked)
        elif line.pending and thing.state in _UNFINISHED and scope.stale(line.since):
            self._report(FindingClass.STALE_PENDING, "neither side has come to an end", line, thing)

    def _unheard(self, line: Booked, thing: _Object, records: Sequence[ProviderRecord]) -> None:
        """Judge movements that the ledger has not booked of something that it knows."""
        if thing.state in _UNFINISHED:
            if line.pending and self._scope.stale(line.since):
                self._report(FindingClass.STALE_PENDING, "neither side has come to an end", line, thing)
            else:
                self._in_transit(records)
        elif thing.state is RemoteState.FAILED and not line.moved:
            # It went out and is coming back; where it came back is listed elsewhere, or will be.
            self._in_transit(records)
        elif all(self._scope.young(record.create_time, thing.kind) for record in records):
            self._in_transit(records)
        else:
            text = f"{line.state} in the ledger, {thing.state.name.lower()} at the provider"
            self._report(FindingClass.STATUS_MISMATCH, text, line, thing, time=_earliest((), records))

    def _unconfirmed(self, line: Booked, thing: _Object, booked: Sequence[Moved]) -> None:
        """Judge movements that the ledger has booked of something that the provider lists without them."""
        if not self._scope.proves_absence(line.kind):
            return
        if all(moved.time and self._scope.young(moved.time, line.kind) for moved in booked):
            self.result.in_transit += len(booked)
            return
        text = f"{line.state} in the ledger, {thing.state.name.lower()} at the provider"
        self._report(FindingClass.STATUS_MISMATCH, text, line, thing, time=_earliest(booked, ()))

    def _without_object(self, line: Booked) -> None:
        """Judge a line of which the provider lists nothing."""
        scope = self._scope
        inside = [moved for moved in line.moved if scope.covers(moved.time)]
        if inside and sum(moved.amount for moved in inside) != 0 and scope.proves_absence(line.kind):
            if all(moved.time and scope.young(moved.time, line.kind) for moved in inside):
                self.result.in_transit += len(inside)
            else:
                text = "booked in the ledger, not listed by the provider"
                self._report(FindingClass.MISSING_AT_PROVIDER, text, line, None, time=_earliest(inside, ()))
        elif line.pending:
            if scope.stale(line.since):
                self._report(FindingClass.STALE_PENDING, "it has not come to an end", line, None)
            elif scope.covers(line.since):
                self.result.in_transit += 1

    def _without_line(self, thing: _Object) -> None:
        """Judge an object of this payment that the ledger does not have."""
        if not self._comparable(thing):
            return
        if any(record.currency != self._payment.currency for record in thing.records):
            self._report(FindingClass.CURRENCY_MISMATCH, "the currencies differ", None, thing)
        else:
            text = f"{thing.kind.name.lower()} at the provider, not in the ledger"
            self._report(FindingClass.MISSING_IN_LEDGER, text, None, thing)

    def _comparable(self, thing: _Object, *, patient: bool = True) -> bool:
        """Whether an object that is left over says anything yet; counts what does not.

        Args:
            patient: whether the ledger may simply not have heard of it yet.
        """
        scope = self._scope
        inside = self._inside(thing)
        amounts = [record.amount for record in inside]
        if not inside or (None not in amounts and sum(amount or 0 for amount in amounts) == 0):
            self.result.matched += len(inside)
        elif (
            thing.state is not RemoteState.SUCCEEDED
            or (patient and all(scope.young(record.create_time, thing.kind) for record in inside))
        ):  # fmt: skip
            self._in_transit(inside)
        else:
            return True
        return False

    def _compare_fees(self, lines: Sequence[Booked], objects: Sequence[_Object]) -> None:
        """Compare fees one by one, then what is left as a sum: a finding is about all of a payment's fees."""
        scope = self._scope
        listed = [record for thing in objects for record in thing.records]
        left = list(lines)
        for same in (_same_fee, _equal_fee):
            for record in list(listed):
                if record.currency != self._payment.currency:
                    continue
                line = next((line for line in left if same(line, record)), None)
                if line is not None:
                    left.remove(line)
                    listed.remove(record)
                    self.result.matched += 1
        listed = [record for record in listed if scope.covers(record.create_time)]
        proven = scope.proves_absence(RecordKind.FEE)
        left = [line for line in left if proven and scope.covers(line.moved[0].time)]
        times = [record.create_time for record in listed]
        times += [line.moved[0].time for line in left if line.moved[0].time is not None]
        foreign = any(record.currency != self._payment.currency for record in listed)
        if not foreign and sum(line.amount for line in left) == _sum(listed):
            self.result.matched += len(listed)
        elif all(scope.young(time, RecordKind.FEE) for time in times):
            self._in_transit(listed)
            self.result.in_transit += len(left)
        else:
            self._report_fees(lines, [record for thing in objects for record in thing.records], min(times))
            for record in listed:
                self.result.verdicts[record.kind, record.record_id] = Verdict.DISCREPANT

    def _report_fees(
        self, lines: Sequence[Booked], records: Sequence[ProviderRecord], time: datetime
    ) -> None:
        payment_id, currency = _payment_id(self._ids, self._payment), self._payment.currency
        currencies = {record.currency for record in records} or {currency}
        # Of fees in several currencies there is no sum.
        listed = _sum(records) if len(currencies) == 1 else None
        named = ", ".join(record.provider_ref for record in records)[:255]
        sides = [
            Side(ref=ref, kind=RecordKind.FEE, amount=amount, currency=code, state="", time=time)
            for ref, amount, code in (
                (f"{payment_id}/fees", sum(line.amount for line in lines), currency),
                (named, listed, min(currencies)),
            )
        ]
        self.result.discrepancies.append(
            self._discrepancy(FindingClass.FEE_MISMATCH, "the fees differ", sides[0], sides[1], time)
        )

    def _ownerless(self, thing: _Object) -> None:
        """Judge what says that it belongs to this payment and is of no kind that a payment has."""
        if not self._inside(thing):
            return
        if thing.kind is RecordKind.UNKNOWN:
            text = f"nobody here knows the type {thing.first.provider_type!r}"
            self._report(FindingClass.UNKNOWN_RECORD_TYPE, text, None, thing)
        else:
            self._report(FindingClass.MISSING_IN_LEDGER, "not in the ledger", None, thing)

    def _duplicate_in_ledger(self, line: Booked, twin: int) -> None:
        payment = self._payment
        if not self._scope.covers(line.since):
            return
        other = self._ids.deposit_id(twin) if isinstance(payment, Deposit) else self._ids.withdrawal_id(twin)
        side = _ledger_side(line, payment.currency)
        found = self._discrepancy(
            FindingClass.DUPLICATE_IN_LEDGER,
            f"{payment.known_ref} at the provider is {other} already",
            side,
            None,
            line.since,
        )
        self.result.discrepancies.append(found)

    def _inside(self, thing: _Object) -> list[ProviderRecord]:
        """Return the records of an object that lie in the window; others are another window's to judge."""
        return [record for record in thing.records if self._scope.covers(record.create_time)]

    def _in_transit(self, records: Iterable[ProviderRecord]) -> None:
        for record in records:
            self.result.in_transit += 1
            self.result.verdicts[record.kind, record.record_id] = Verdict.IN_TRANSIT

    def _report(
        self,
        kind: FindingClass,
        text: str,
        line: Booked | None,
        thing: _Object | None,
        *,
        time: datetime | None = None,
    ) -> None:
        """Report what differs; the currency is the payment's, so that a finding stays the same one.

        Args:
            time: when the movement happened that one side does not have. Only a run over that time may say
                that it is over: an earlier movement of the same object proves nothing.
        """
        currency = self._payment.currency
        ledger = None if line is None else _ledger_side(line, currency)
        remote = None if thing is None else remote_side(thing.records)
        times = [side.time for side in (remote, ledger) if side is not None and side.time is not None]
        subject_time = time or next((each for each in times if self._scope.covers(each)), None)
        if subject_time is None:
            subject_time = times[0] if times else self._scope.from_time
        self.result.discrepancies.append(self._discrepancy(kind, text, ledger, remote, subject_time))
        for record in thing.records if thing is not None else ():
            self.result.verdicts[record.kind, record.record_id] = Verdict.DISCREPANT

    def _discrepancy(
        self,
        kind: FindingClass,
        text: str,
        ledger: Side | None,
        remote: Side | None,
        subject_time: datetime,
    ) -> Discrepancy:
        return Discrepancy(
            kind=kind,
            provider=self._payment.provider,
            payment=self._payment.number,
            withdrawal=isinstance(self._payment, Withdrawal),
            ledger=ledger,
            remote=remote,
            currency=self._payment.currency,
            description=text,
            subject_time=subject_time,
        )


_UNFINISHED: Final = frozenset({RemoteState.PENDING, RemoteState.AUTHORIZED})


def remote_side(records: Sequence[ProviderRecord]) -> Side:
    """Return what a provider says of one object, all its movements together."""
    newest = max(records, key=lambda record: (record.create_time, record.record_id))
    return Side(
        ref=newest.provider_ref,
        kind=newest.kind,
        amount=_sum(records),
        currency=newest.currency,
        state=newest.state.name.lower(),
        time=min(record.create_time for record in records),
        type=newest.provider_type,
    )


def _ledger_side(line: Booked, currency: str) -> Side:
    times = [moved.time for moved in line.moved if moved.time is not None]
    return Side(
        ref=line.ref,
        kind=line.kind,
        amount=line.amount,
        currency=currency,
        state=line.state,
        time=min(times, default=line.since),
    )


def _unmatched(
    booked: Sequence[Moved], records: Sequence[ProviderRecord]
) -> tuple[list[Moved], list[ProviderRecord]]:
    """Return the movements of each side that the other has none of the same amount for, one to one."""
    rest = list(records)
    left = []
    for moved in booked:
        same = next((record for record in rest if record.amount == moved.amount), None)
        if same is None:
            left.append(moved)
        else:
            rest.remove(same)
    return left, rest


def _earliest(booked: Sequence[Moved], records: Sequence[ProviderRecord]) -> datetime:
    """Return when the first of some movements in the window happened."""
    times = [moved.time for moved in booked if moved.time is not None]
    return min([*times, *(record.create_time for record in records)])


def _whole(objects: Sequence[_Object]) -> list[_Object]:
    """Return the captures of each payment as one: the ledger was told of the payment as a whole."""
    payments: dict[str, _Object] = {}
    for thing in objects:
        known = payments.setdefault(thing.payment_ref, _Object(kind=thing.kind, ref=thing.ref, records=[]))
        known.records += thing.records
    return list(payments.values())


def _same_fee(line: Booked, record: ProviderRecord) -> bool:
    return record.provider_ref in line.remote_refs and line.amount == record.amount


def _equal_fee(line: Booked, record: ProviderRecord) -> bool:
    return line.amount == record.amount


def _by_provider_id(line: Booked, thing: _Object) -> bool:
    return thing.ref in line.remote_refs or (
        thing.kind is RecordKind.PAYMENT and thing.payment_ref in line.remote_refs
    )


def _by_our_id(line: Booked, thing: _Object) -> bool:
    """Whether our id says so; of a payment it names the whole, which may have several captures."""
    if not line.our_id or thing.our_id != line.our_id:
        return False
    return line.kind is not RecordKind.PAYMENT or not line.moved


def _by_amount(line: Booked, thing: _Object) -> bool:
    return line.amount != 0 and line.amount == _sum(thing.records) and _by_place(line, thing)


def _by_place(line: Booked, thing: _Object) -> bool:
    """Whether both are left over, and no id says that they are two things."""
    known = bool(line.our_id) and bool(thing.our_id) and line.our_id != thing.our_id
    return not known and (line.kind is RecordKind.PAYMENT or not line.remote_refs)


def _apart(one: _Object, other: _Object) -> bool:
    """Whether two objects for one id of ours are two payments of the provider, not two parts of one."""
    return one.kind is not RecordKind.PAYMENT or one.payment_ref != other.payment_ref


def _payment_id(ids: TenantIds, payment: Payment) -> str:
    if isinstance(payment, Deposit):
        return ids.deposit_id(payment.number)
    return ids.withdrawal_id(payment.number)


def _sum(records: Sequence[ProviderRecord]) -> int | None:
    amounts = [record.amount for record in records]
    return None if None in amounts else sum(amount or 0 for amount in amounts)


def _add(totals: dict[str, int], currency: str, amount: int) -> None:
    totals[currency] = totals.get(currency, 0) + amount
