"""Owns the bytes of findings in the journal, there and back."""

from defter.reconciliation.v1 import finding_pb2 as pb

from ledger_server.domain.findings.discrepancy import Discrepancy, FindingClass, Severity, Side
from ledger_server.domain.findings.finding import Finding, FindingState, Resolution, Source
from ledger_server.domain.ids import TenantIds, finding_fingerprint, finding_id
from ledger_server.domain.provider_record import ProviderRecordKind
from ledger_server.engine.records.times import moment, moment_in, timestamp


def finding_message(ids: TenantIds, finding: Finding) -> pb.Finding:
    """Return a finding as callers see it."""
    seen = finding.seen
    message = pb.Finding(
        finding_id=finding_id(finding.fingerprint),
        finding_class=int(seen.kind),  # type: ignore[arg-type]
        severity=int(finding.severity),  # type: ignore[arg-type]
        state=int(finding.state),  # type: ignore[arg-type]
        version=finding.version,
        provider=seen.provider,
        payment_id=_payment_id(ids, seen),
        currency_code=seen.currency,
        description=seen.description,
        evidence=seen.evidence,
        subject_time=timestamp(seen.subject_time),
        source=int(finding.source),  # type: ignore[arg-type]
        assignee=finding.assignee,
        resolution_reason=int(finding.resolution),  # type: ignore[arg-type]
        note=finding.note,
        actor=finding.actor,
        correction_transaction_id=finding.correction,
        duplicate_of_finding_id=finding.duplicate_of,
        run_id="" if finding.run is None else ids.run_id(finding.run),
        open_time=timestamp(finding.open_time),
        update_time=timestamp(finding.update_time),
    )
    _put(message.ledger, seen.ledger)
    _put(message.at_provider, seen.remote)
    return message


def finding_of(ids: TenantIds, message: pb.Finding) -> Finding:
    """Return the finding in a record; ValueError if a number or an id has no meaning."""
    fingerprint = finding_fingerprint(message.finding_id)
    if fingerprint is None:
        raise ValueError(f"{message.finding_id!r} is no finding's id")
    withdrawal = ids.withdrawal_sequence(message.payment_id)
    return Finding(
        fingerprint=fingerprint,
        seen=Discrepancy(
            kind=FindingClass(message.finding_class),
            provider=message.provider,
            payment=ids.deposit_sequence(message.payment_id) if withdrawal is None else withdrawal,
            withdrawal=withdrawal is not None,
            ledger=_side_of(message.ledger) if message.HasField("ledger") else None,
            remote=_side_of(message.at_provider) if message.HasField("at_provider") else None,
            currency=message.currency_code,
            description=message.description,
            evidence=dict(message.evidence),
            subject_time=moment(message.subject_time),
        ),
        state=FindingState(message.state),
        version=message.version,
        severity=Severity(message.severity),
        source=Source(message.source),
        assignee=message.assignee,
        resolution=Resolution(message.resolution_reason),
        note=message.note,
        actor=message.actor,
        correction=message.correction_transaction_id,
        duplicate_of=message.duplicate_of_finding_id,
        run=ids.run_number(message.run_id),
        open_time=moment(message.open_time),
        update_time=moment(message.update_time),
    )


def _payment_id(ids: TenantIds, seen: Discrepancy) -> str:
    if seen.payment is None:
        return ""
    return ids.withdrawal_id(seen.payment) if seen.withdrawal else ids.deposit_id(seen.payment)


def _put(message: pb.Side, side: Side | None) -> None:
    if side is None:
        return
    message.ref = side.ref
    message.kind = int(side.kind)  # type: ignore[assignment]
    if side.amount is not None:
        message.amount_minor = side.amount
    message.currency_code = side.currency
    message.state = side.state
    if side.time is not None:
        message.time.CopyFrom(timestamp(side.time))
    message.type = side.type


def _side_of(message: pb.Side) -> Side:
    return Side(
        ref=message.ref,
        kind=ProviderRecordKind(message.kind),
        amount=message.amount_minor if message.HasField("amount_minor") else None,
        currency=message.currency_code,
        state=message.state,
        time=moment_in(message, "time"),
        type=message.type,
    )
