"""Records that belong to no payment, as a table: what each kind means, and when it means nothing yet."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from ledger_server.domain.findings.discrepancy import FindingClass, Severity
from ledger_server.domain.provider_record import ProviderRecord, ProviderRecordKind, RemoteState
from ledger_server.domain.reconciliation.payment_comparison import Verdict
from ledger_server.domain.reconciliation.unmatched import judge
from tests.support.payments import PROVIDER
from tests.unit.reconciliation.lives import a_scope, hour

K, S = ProviderRecordKind, RemoteState


def stray(kind: ProviderRecordKind, *, state: RemoteState = S.SUCCEEDED, ref: str = "x-1") -> ProviderRecord:
    """Return a record of no payment, one hour into the window."""
    return ProviderRecord(
        kind=kind,
        record_id="row-1",
        provider_ref=ref,
        state=state,
        amount=-5,
        currency="EUR",
        create_time=hour(1),
        provider_type="strange",
        payment_ref="",
        our_id="",
        batch="",
    )


@pytest.mark.parametrize(
    ("record", "expected", "severity"),
    [
        pytest.param(stray(K.PAYMENT), FindingClass.MISSING_IN_LEDGER, Severity.HIGH, id="payment"),
        pytest.param(stray(K.PAYOUT), FindingClass.MISSING_IN_LEDGER, Severity.HIGH, id="payout"),
        pytest.param(stray(K.REFUND), FindingClass.ORPHAN_REFUND, Severity.HIGH, id="refund"),
        pytest.param(stray(K.DISPUTE), FindingClass.ORPHAN_REFUND, Severity.HIGH, id="dispute"),
        pytest.param(stray(K.FEE), FindingClass.MISSING_IN_LEDGER, Severity.MEDIUM, id="fee"),
        pytest.param(stray(K.OTHER), FindingClass.MISSING_IN_LEDGER, Severity.MEDIUM, id="correction"),
        pytest.param(stray(K.SETTLEMENT), FindingClass.MISSING_IN_LEDGER, Severity.MEDIUM, id="settlement"),
        pytest.param(stray(K.UNKNOWN), FindingClass.UNKNOWN_RECORD_TYPE, Severity.MEDIUM, id="unknown type"),
    ],
)
def test_judge_old_record_reports_its_class(
    record: ProviderRecord, expected: FindingClass, severity: Severity
) -> None:
    """What nobody claims after its grace is a finding about the provider's object."""
    verdict, found = judge(PROVIDER, record, a_scope())

    assert verdict is Verdict.DISCREPANT
    assert found is not None
    assert (found.kind, found.severity, found.payment) == (expected, severity, None)
    assert found.remote is not None
    assert (found.remote.ref, found.remote.amount, found.subject_time) == ("x-1", -5, hour(1))


@pytest.mark.parametrize(
    ("record", "age", "verdict"),
    [
        pytest.param(stray(K.PAYMENT), timedelta(minutes=59), Verdict.IN_TRANSIT, id="payment on its way"),
        pytest.param(stray(K.PAYMENT), timedelta(hours=1), Verdict.DISCREPANT, id="payment, an hour old"),
        pytest.param(stray(K.FEE), timedelta(hours=23), Verdict.IN_TRANSIT, id="fee of today"),
        pytest.param(
            stray(K.SETTLEMENT), timedelta(days=4), Verdict.IN_TRANSIT, id="settlement not in the bank yet"
        ),
        pytest.param(stray(K.UNKNOWN), timedelta(0), Verdict.DISCREPANT, id="unknown type, at once"),
        pytest.param(
            stray(K.PAYOUT, state=S.PENDING), timedelta(days=9), Verdict.IN_TRANSIT, id="payout under way"
        ),
        pytest.param(
            stray(K.PAYMENT, state=S.FAILED), timedelta(days=9), Verdict.IN_TRANSIT, id="payment that failed"
        ),
        pytest.param(
            stray(K.DISPUTE, state=S.FAILED),
            timedelta(days=9),
            Verdict.DISCREPANT,
            id="dispute, however it ends",
        ),
    ],
)
def test_judge_record_by_age_waits_or_reports(
    record: ProviderRecord, age: timedelta, verdict: Verdict
) -> None:
    """Too young to be missed, or moved nothing: in transit."""
    assert judge(PROVIDER, record, a_scope(now=record.create_time + age)).verdict is verdict


def test_judge_settled_batch_matches() -> None:
    """A settlement whose batch the ledger has moved to the bank has its counterpart."""
    assert judge(PROVIDER, stray(K.SETTLEMENT), a_scope(), settled=True) == (Verdict.MATCHED, None)


def test_judge_record_at_edge_says_nothing() -> None:
    """A record beside the window is for the run of its own window."""
    assert judge(PROVIDER, stray(K.PAYMENT), a_scope(2, 20)) == (Verdict.NOT_COMPARED, None)


def test_judge_records_without_ref_stay_apart() -> None:
    """Two movements without an object of their own are two findings, each the same one in every run."""
    one = stray(K.OTHER, ref="")
    other = msgspec.structs.replace(one, record_id="row-2")

    first, second = (judge(PROVIDER, each, a_scope()).discrepancy for each in (one, other))
    again = judge(PROVIDER, one, a_scope(-5, 50, now=hour(9000))).discrepancy

    assert first is not None
    assert second is not None
    assert again is not None
    assert first.fingerprint == again.fingerprint != second.fingerprint


def test_judge_echoed_id_of_nobody_is_kept_as_evidence() -> None:
    """An id that looks like ours and is nobody's helps whoever looks into it."""
    found = judge(PROVIDER, msgspec.structs.replace(stray(K.PAYMENT), our_id="dep_x"), a_scope()).discrepancy

    assert found is not None
    assert found.evidence == {"echoed_id": "dep_x"}
