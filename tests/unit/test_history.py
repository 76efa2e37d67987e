"""Test when a database's history is taken for another one than before."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger_server.domain.history import Found, Identity, Known, Witness, why_another

HERE = Identity(system_identifier="7412345678901234567", database_oid=16384, timeline=1)
FOUND = Found(identity=HERE, position=0x1_0000_0000, written_here=True)
KNOWN = Known(epoch="k3x9abcd", past_epochs=frozenset({"0000000a"}), identity=HERE)
SEEN = Witness(epoch="k3x9abcd", identity=HERE, position=0x1_0000_0000)
ELSEWHERE = replace(HERE, system_identifier="7499999999999999999")


@pytest.mark.parametrize(
    ("known", "found", "witness", "why"),
    [
        pytest.param(KNOWN, FOUND, None, "", id="nothing has happened"),
        pytest.param(KNOWN, FOUND, SEEN, "", id="nothing has happened, and somebody was there"),
        pytest.param(
            KNOWN,
            replace(FOUND, identity=ELSEWHERE),
            SEEN,
            "the system identifier was 7412345678901234567 and is 7499999999999999999",
            id="a dump in another cluster",
        ),
        pytest.param(
            KNOWN,
            replace(FOUND, identity=replace(HERE, database_oid=16999)),
            SEEN,
            "the database oid was 16384 and is 16999",
            id="a copy within the cluster",
        ),
        pytest.param(
            KNOWN,
            replace(FOUND, identity=replace(HERE, timeline=2)),
            SEEN,
            "the timeline was 1 and is 2",
            id="a promoted standby",
        ),
        pytest.param(
            KNOWN,
            replace(FOUND, written_here=False),
            SEEN,
            "its tables were read in from a dump",
            id="a dump in the same database",
        ),
        pytest.param(
            KNOWN,
            replace(FOUND, position=0xFFFF_FFFF),
            SEEN,
            "the log had been seen at 1/0 and ends at 0/FFFFFFFF",
            id="files put back",
        ),
        pytest.param(
            KNOWN, replace(FOUND, position=0xFFFF_FFFF), None, "", id="files put back, and nobody saw them"
        ),
        pytest.param(
            replace(KNOWN, epoch="0000000a", past_epochs=frozenset()),
            FOUND,
            SEEN,
            "epoch k3x9abcd was seen here, and the database does not know it",
            id="files of an epoch before put back",
        ),
        pytest.param(
            KNOWN,
            replace(FOUND, position=1),
            replace(SEEN, epoch="0000000a"),
            "",
            id="what was lost before the epoch began",
        ),
        pytest.param(
            KNOWN, FOUND, replace(SEEN, loss="a record is gone"), "a record is gone", id="a lost commit"
        ),
        pytest.param(
            KNOWN,
            FOUND,
            replace(SEEN, epoch="0000000a", loss="a record is gone"),
            "",
            id="a commit lost before the epoch began",
        ),
        pytest.param(
            KNOWN, FOUND, replace(SEEN, identity=ELSEWHERE, position=1 << 60), "", id="another database seen"
        ),
        pytest.param(
            replace(KNOWN, epoch=None, past_epochs=frozenset(), identity=None),
            FOUND,
            None,
            "",
            id="opened for the first time",
        ),
        pytest.param(
            replace(KNOWN, epoch=None, past_epochs=frozenset(), identity=None),
            FOUND,
            SEEN,
            "epoch k3x9abcd was seen here, and the database does not know it",
            id="a backup from before it was opened",
        ),
    ],
)
def test_look_at_database_says_why_its_history_is_another(
    known: Known, found: Found, witness: Witness | None, why: str
) -> None:
    """Each way to lose commits or to be a copy, as far as something tells of it."""
    assert why_another(known, found, witness) == why


@given(steps=st.lists(st.integers(0, 1 << 40), min_size=1))
def test_go_on_without_a_loss_is_one_history(steps: list[int]) -> None:
    """However far the log grows between two looks, and whoever looked last."""
    position = 0
    witness = None
    for step in steps:
        position += step
        found = replace(FOUND, position=position)
        assert why_another(KNOWN, found, witness) == ""
        witness = replace(SEEN, position=position)
