"""The error table is complete: contract, domain and wire know the same reasons."""

from collections import Counter

from defter.ledger.v1 import error_pb2

from ledger_server.domain import errors
from ledger_server.rpc.errors import CODES


def exceptions() -> list[type[errors.Refused]]:
    """Return the exception classes that stand for one reason each."""
    return [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.Refused) and hasattr(kind, "reason")
    ]


def test_reasons_are_those_of_the_contract() -> None:
    """Name by name and number by number."""
    contract = {
        name.removeprefix("ERROR_REASON_"): number for name, number in error_pb2.ErrorReason.items() if number
    }
    assert contract == {reason.name: reason.value for reason in errors.Reason}


def test_every_reason_has_one_exception_and_one_code() -> None:
    """Nothing is raised twice, and nothing that is raised lacks a code."""
    assert Counter(kind.reason for kind in exceptions()) == Counter(errors.Reason)
    assert set(CODES) == set(errors.Reason)


def test_only_decisions_against_state_are_final() -> None:
    """Reasons from 200 on are recorded for their key; all others are not."""
    for kind in exceptions():
        assert issubclass(kind, errors.Rejected) == (kind.reason >= 200), kind
