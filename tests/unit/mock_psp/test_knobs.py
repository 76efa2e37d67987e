"""The mock provider's knobs: turned together or not at all, and counted down."""

import pytest

from mock_psp.errors import InvalidRequest
from mock_psp.knobs import Knobs


def test_turn_counted_knob_hits_so_many_and_no_more() -> None:
    """A count is used up by what it hits."""
    knobs = Knobs(reject=2)

    assert [knobs.take("reject") for _ in range(4)] == [True, True, False, False]


def test_patch_leaves_other_knobs_alone() -> None:
    """Only what is named is turned."""
    knobs = Knobs(fee_minor=7)

    knobs.patch({"rate_limit": 3})

    assert knobs == Knobs(fee_minor=7, rate_limit=3)


@pytest.mark.parametrize(
    "changes",
    [
        {"no_such_knob": 1},
        {"fee_minor": -1},
        {"fee_minor": "1"},
        {"fee_minor": True},
        {"reject_code": ""},
        {"wrong_currency": "eur"},
        {"faults_hit": "some"},
        {"delay_seconds": float("nan")},
        {"delay_seconds": 1e9},
    ],
)
def test_patch_wrongly_turns_nothing(changes: dict[str, object]) -> None:
    """A knob that cannot be turned that far keeps the others from being turned, too."""
    knobs = Knobs()

    with pytest.raises(InvalidRequest):
        knobs.patch({"auto_complete": False, **changes})

    assert knobs == Knobs()
