"""Test when a database's history is taken for another one than before."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger_server.domain.history import Found, Identity, Known, SeenRecord, Witness, why_another
from ledger_server.store.witness import WitnessKeeper

HERE = Identity(system_identifier="7412345678901234567", database_oid=16384, timeline=1)
FOUND = Found(identity=HERE, position=0x1_0000_0000, written_here=True)
KNOWN = Known(epoch="k3x9abcd", past_epochs=frozenset({"0000000a"}), identity=HERE)
SEEN = Witness(epoch="k3x9abcd", identity=HERE, position=0x1_0000_0000)
RECORD = SeenRecord(tenant_key=1, sequence=7, chain_hash=b"c" * 32)
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


@pytest.mark.parametrize(
    ("witness", "why"),
    [
        (SEEN, ""),
        (replace(SEEN, record=RECORD), "record 7 of tenant key 1 was committed and is gone"),
        (replace(SEEN, record=RECORD, epoch="0000000a"), ""),
        (replace(SEEN, record=RECORD, identity=ELSEWHERE), ""),
    ],
)
def test_lack_the_record_that_was_seen_is_a_loss_of_this_epoch_here(witness: Witness, why: str) -> None:
    """Wherever the log ends: it may have grown since files were put back."""
    assert why_another(KNOWN, replace(FOUND, position=1 << 40), witness, lacks_record=True) == why


@pytest.mark.parametrize("identity", [None, HERE])
def test_find_records_of_an_epoch_before_any_server_came_is_a_restore(identity: Identity | None) -> None:
    """A dump of data alone, read into a new schema, has a row of its own that knows nothing."""
    known = replace(KNOWN, epoch=None, past_epochs=frozenset(), identity=identity)
    why = why_another(known, replace(FOUND, strange_epoch="k3x9abcd"), None)
    assert why == "its records are of epoch k3x9abcd, and no server has opened it yet"


def test_keep_witnesses_of_two_databases_in_one_file(tmp_path: Path) -> None:
    """Neither replaces the other's."""
    file = tmp_path / "witness"

    async def see(witness: Witness) -> None:
        keeper = WitnessKeeper(file)
        keeper.see(witness)
        await keeper.write()

    there = replace(SEEN, identity=ELSEWHERE, epoch="0000000b")
    for witness in (SEEN, there, replace(SEEN, position=SEEN.position + 1)):
        asyncio.run(see(witness))
    keeper = WitnessKeeper(file)
    assert keeper.of(HERE) == replace(SEEN, position=SEEN.position + 1)
    assert keeper.of(ELSEWHERE) == there


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
