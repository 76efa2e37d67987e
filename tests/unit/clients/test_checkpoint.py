"""What was delivered is a checkpoint, and what does not follow it is told."""

from __future__ import annotations

import hashlib

import pytest
from defter.ledger.v1 import journal_pb2
from hypothesis import given
from hypothesis import strategies as st

from defter_client import Checkpoint, JournalBroken


def entries(count: int) -> list[journal_pb2.JournalEntry]:
    """Return a journal."""
    found, chain = [], bytes(32)
    for sequence in range(1, count + 1):
        record = f"record {sequence}".encode()
        chain = hashlib.sha256(chain + record).digest()
        found.append(journal_pb2.JournalEntry(sequence=sequence, record_bytes=record, chain_hash=chain))
    return found


@given(st.integers(0, 2**62), st.sampled_from([b"", bytes(range(32))]))
def test_text_and_back(sequence: int, chain_hash: bytes) -> None:
    """It is stored as a text."""
    checkpoint = Checkpoint(sequence, chain_hash)
    # Before the first record the hash is always known.
    wanted = checkpoint if sequence or chain_hash else Checkpoint()
    assert Checkpoint.parse(str(checkpoint)) == wanted


@pytest.mark.parametrize("text", ["", "x", "-1", "1:00", "1:zz", "٣", "1:" + "00" * 33, ":"])
def test_other_texts_are_refused(text: str) -> None:
    """A store that was cut off is noticed."""
    with pytest.raises(ValueError, match=r"checkpoint|non-hexadecimal"):
        Checkpoint.parse(text)


def test_records_follow_one_another() -> None:
    """From the beginning, and from any place."""
    checkpoint = Checkpoint()
    for entry in entries(5):
        checkpoint = Checkpoint.parse(str(checkpoint)).after(entry, verify=True)
    assert checkpoint.sequence == 5


@pytest.mark.parametrize(("after", "came"), [(a, c) for a in (0, 1, 3) for c in range(1, 7) if c != a + 1])
def test_gap_or_repetition_is_told(after: int, came: int) -> None:
    """Whether or not hashes are checked."""
    journal = entries(6)
    checkpoint = Checkpoint(after, journal[after - 1].chain_hash) if after else Checkpoint()
    for verify in (False, True):
        with pytest.raises(JournalBroken):
            checkpoint.after(journal[came - 1], verify=verify)


@pytest.mark.parametrize("field", ["record_bytes", "chain_hash"])
def test_altered_record_is_told_where_it_is_checked(field: str) -> None:
    """One bit of the bytes, or of the hash."""
    journal = entries(3)
    spoilt = bytearray(getattr(journal[2], field))
    spoilt[0] ^= 1
    setattr(journal[2], field, bytes(spoilt))
    checkpoint = Checkpoint(2, journal[1].chain_hash)
    with pytest.raises(JournalBroken):
        checkpoint.after(journal[2], verify=True)
    checkpoint.after(journal[2], verify=False)
    Checkpoint(2, b"").after(journal[2], verify=True)
