"""Owns the judgement on a provider's record that belongs to no payment of the ledger; pure."""

from typing import NamedTuple

from ledger_server.domain.findings.discrepancy import Discrepancy, FindingClass
from ledger_server.domain.provider_record import ProviderRecord, ProviderRecordKind, RemoteState
from ledger_server.domain.reconciliation.payment_comparison import Verdict, remote_side
from ledger_server.domain.reconciliation.scope import Scope


class Judged(NamedTuple):
    """The verdict on a record, and the discrepancy if there is one."""

    verdict: Verdict
    discrepancy: Discrepancy | None = None


def judge(provider: str, record: ProviderRecord, scope: Scope, *, settled: bool = False) -> Judged:
    """Judge a record without a payment; a record at the window's edge gets no verdict.

    Args:
        settled: for a settlement record, whether the ledger has moved its batch to the bank.
    """
    if not scope.covers(record.create_time):
        return Judged(Verdict.NOT_COMPARED)
    if settled:
        return Judged(Verdict.MATCHED)
    if record.kind is ProviderRecordKind.UNKNOWN:
        text = f"nobody here knows the type {record.provider_type!r}"
        return _found(FindingClass.UNKNOWN_RECORD_TYPE, provider, record, text)
    unfinished = record.state is not RemoteState.SUCCEEDED and record.kind in _OF_PLAYERS
    if unfinished or scope.young(record.create_time, record.kind):
        return Judged(Verdict.IN_TRANSIT)
    if record.kind in _CHILDREN:
        text = f"a {record.kind.name.lower()} of a payment that the ledger does not have"
        return _found(FindingClass.ORPHAN_REFUND, provider, record, text)
    text = f"{record.kind.name.lower()} at the provider, not in the ledger"
    return _found(FindingClass.MISSING_IN_LEDGER, provider, record, text)


_CHILDREN = frozenset({ProviderRecordKind.REFUND, ProviderRecordKind.DISPUTE})
# A failed movement moved no money, or moved it back.
_OF_PLAYERS = frozenset({ProviderRecordKind.PAYMENT, ProviderRecordKind.PAYOUT, ProviderRecordKind.REFUND})


def _found(kind: FindingClass, provider: str, record: ProviderRecord, text: str) -> Judged:
    return Judged(
        Verdict.DISCREPANT,
        Discrepancy(
            kind=kind,
            provider=provider,
            payment=None,
            remote=remote_side([record]),
            currency=record.currency,
            description=text,
            evidence={"echoed_id": record.our_id} if record.our_id else {},
            subject_time=record.create_time,
            withdrawal=False,
            ledger=None,
        ),
    )
