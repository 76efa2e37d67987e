"""The error table is complete: contract, domain and wire know the same reasons."""

from collections import Counter

import pytest
from defter.ledger.v1 import error_pb2
from google.rpc import error_details_pb2

from ledger_server.domain import errors
from ledger_server.rpc.errors import CODES, status_of
from ledger_server.rpc.violations import Violations


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


@pytest.mark.parametrize("character", ["a", "é", "決", "💣", "\x01"])
@pytest.mark.parametrize("length", [100, 500, 510, 700, 5_000, 4_000_000])
def test_tell_refusal_with_long_facts_stays_small(character: str, length: int) -> None:
    """Whatever a refusal repeats, its status has at most 4 KiB, and short facts are whole."""
    long = character * length
    violations = Violations()
    for _ in range(100):
        violations.add(errors.CurrencyUnknown(field="somewhere", currency_code=long, another=long))

    with pytest.raises(errors.CurrencyUnknown) as caught:
        violations.check()
    status = status_of(caught.value)

    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.metadata["field"] == "somewhere"
    assert info.metadata["another"] == long or len(long.encode()) > 1_000
    assert len(status.message.encode()) <= 550
    assert status.ByteSize() <= 4_096
