"""A caller gets the class of the reason, with its facts, whatever server it talks to."""

from __future__ import annotations

from datetime import UTC, datetime

import grpc
import pytest
from defter.ledger.v1 import error_pb2
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from defter_client import reasons
from defter_client.errors import AccessDenied, Fault, InvalidRequest, LedgerError, Refused, RetryLater
from defter_client.failures import error_of, leaves_unknown, ledger_error
from defter_client.reasons import BY_REASON
from ledger_server.domain.errors import Reason
from ledger_server.rpc.errors import CODES
from tools.clients.reasons import FactType, Kind
from tools.clients.reasons import reasons as told_reasons

KINDS = {
    Kind.RETRY: RetryLater,
    Kind.REQUEST: InvalidRequest,
    Kind.ACCESS: AccessDenied,
    Kind.REFUSED: Refused,
    Kind.FAULT: Fault,
}


class Failed:
    """A failed call, as either of gRPC's stacks has it."""

    def __init__(self, code: grpc.StatusCode, reason: str = "", **metadata: str) -> None:
        self._code = code
        details = []
        if reason:
            detail = any_pb2.Any()
            detail.Pack(error_details_pb2.ErrorInfo(reason=reason, domain="defter", metadata=metadata))
            details.append(detail)
        number: int = code.value[0]
        status = status_pb2.Status(code=number, message="no", details=details)
        self.trailing: list[tuple[str, str | bytes]] = [
            ("grpc-status-details-bin", status.SerializeToString())
        ]

    def code(self) -> grpc.StatusCode:
        """Return the code."""
        return self._code

    def details(self) -> str:
        """Return the sentence."""
        return "no"

    def trailing_metadata(self) -> list[tuple[str, str | bytes]]:
        """Return what came behind it."""
        return self.trailing


@pytest.mark.parametrize("reason", told_reasons(), ids=lambda reason: reason.name)
def test_each_reason_has_its_class_code_and_facts(reason: object) -> None:
    """What the contract's comment says is what the class has, and what the server answers with."""
    [found] = [each for each in told_reasons() if each == reason]
    made = BY_REASON[found.name]

    assert issubclass(made, KINDS[found.kind])
    assert made.usual_code.name == found.code == CODES[Reason[found.name]].name
    texts = {FactType.INTEGER: "-7", FactType.TIME: "2026-11-29T01:02:03.000004Z", FactType.TEXT: "house"}
    values = {
        FactType.INTEGER: -7,
        FactType.TIME: datetime(2026, 11, 29, 1, 2, 3, 4, tzinfo=UTC),
        FactType.TEXT: "house",
    }
    metadata = {name: texts[kind] for name, kind in found.facts.items()}
    error = ledger_error(Failed(made.usual_code, found.name, **metadata))
    assert type(error) is made
    for name, kind in found.facts.items():
        own = name if hasattr(error, name) and name != "kind" else f"{name}_"
        assert getattr(error, own) == values[kind]
    bare = ledger_error(Failed(made.usual_code, found.name, **dict.fromkeys(found.facts, "…")))
    for name, kind in found.facts.items():
        own = name if hasattr(error, name) and name != "kind" else f"{name}_"
        assert getattr(bare, own) == ("…" if kind is FactType.TEXT else None)


def test_all_reasons_are_there() -> None:
    """None of the contract's is missing."""
    names = {name.removeprefix("ERROR_REASON_") for name in error_pb2.ErrorReason.keys()}  # noqa: SIM118
    assert names - {"UNSPECIFIED"} == set(BY_REASON)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, RetryLater),
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidRequest),
        (grpc.StatusCode.PERMISSION_DENIED, AccessDenied),
        (grpc.StatusCode.UNKNOWN, Fault),
        (grpc.StatusCode.UNIMPLEMENTED, Fault),
        (grpc.StatusCode.FAILED_PRECONDITION, None),
        (grpc.StatusCode.NOT_FOUND, None),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, None),
    ],
)
def test_reason_of_a_newer_server_has_the_class_of_its_code(
    code: grpc.StatusCode, kind: type[LedgerError] | None
) -> None:
    """Nobody has to have the newest client; without a reason it was perhaps not the ledger that answered."""
    newer, bare = ledger_error(Failed(code, "SOMETHING_NEW")), ledger_error(Failed(code))
    assert type(newer) is (kind or (RetryLater if code is grpc.StatusCode.RESOURCE_EXHAUSTED else Refused))
    assert type(bare) is (kind or Fault)
    assert (newer.reason, bare.reason) == ("SOMETHING_NEW", "")


@pytest.mark.parametrize(
    ("code", "reason", "unknown"),
    [
        (grpc.StatusCode.UNAVAILABLE, "", True),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "", True),
        (grpc.StatusCode.CANCELLED, "", True),
        (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", True),
        (grpc.StatusCode.INTERNAL, "INTERNAL", True),
        (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN", False),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "LANE_FULL", False),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_PASSED", False),
        (grpc.StatusCode.FAILED_PRECONDITION, "INSUFFICIENT_FUNDS", False),
        (grpc.StatusCode.UNAVAILABLE, "SOMETHING_NEW", True),
        (grpc.StatusCode.FAILED_PRECONDITION, "SOMETHING_NEW", False),
    ],
)
def test_whether_a_call_may_have_taken_effect(code: grpc.StatusCode, reason: str, unknown: bool) -> None:
    """Only what the contract excludes is excluded."""
    assert leaves_unknown(Failed(code, reason)) is unknown
    assert ledger_error(Failed(code, reason)).outcome_unknown is unknown


@pytest.mark.parametrize(
    ("reason", "unknown"),
    [
        ("LANE_FULL", True),
        ("PERMISSION_MISSING", True),
        ("PROVIDER_UNKNOWN", True),
        ("INSUFFICIENT_FUNDS", False),
        ("ACCOUNT_NOT_FOUND", False),
        ("IDEMPOTENCY_KEY_REUSED", False),
    ],
)
def test_only_a_decision_ends_the_doubt_of_an_earlier_try(reason: str, unknown: bool) -> None:
    """An earlier try may have taken effect, unless the key is known to have been decided otherwise."""
    failed = Failed(BY_REASON[reason].usual_code, reason)
    assert ledger_error(failed, was_unknown=True).outcome_unknown is unknown


def test_refusal_in_a_message_is_the_same_error() -> None:
    """Items of batches and streams are refused in messages."""
    rejection = error_pb2.Rejection(
        reason=error_pb2.ERROR_REASON_INSUFFICIENT_FUNDS,
        message="no",
        metadata={"account_id": "ann", "available_balance_minor": "12"},
    )
    error = error_of(rejection, key="bet-1", replayed=True)
    assert isinstance(error, reasons.InsufficientFunds)
    assert (error.account_id, error.available_balance_minor, error.change_minor) == ("ann", 12, None)
    assert (error.code, error.key, error.replayed) == (grpc.StatusCode.FAILED_PRECONDITION, "bet-1", True)


def test_refusal_for_a_newer_reason_is_an_error_too() -> None:
    """A client that is older than the server does not break."""
    rejection = error_pb2.Rejection.FromString(b"\x08\xe7\x07")
    error = error_of(rejection)
    assert type(error) is Refused
    assert error.reason == "999"


def test_reason_of_another_domain_is_none_of_the_ledgers() -> None:
    """Something between may have reasons of the same names; such an answer tells nothing of the outcome."""
    status = status_pb2.Status(code=14, message="no")
    told = error_details_pb2.ErrorInfo(reason="INSUFFICIENT_FUNDS", domain="proxy.example")
    status.details.add().Pack(told)
    trailing = grpc.aio.Metadata(("grpc-status-details-bin", status.SerializeToString()))
    failure = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), trailing, "no")
    error = ledger_error(failure, key="k")
    assert (error.reason, error.outcome_unknown) == ("", True)
