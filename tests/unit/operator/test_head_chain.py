"""A journal and the heads that were published of it: what extends them, and where it does not."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import NamedTuple

import pytest
from defter.ledger.v1 import journal_pb2, tenant_pb2
from hypothesis import given
from hypothesis import strategies as st

from ledger_server.operator.head_chain import ChainBreak, ChainWalk, EpochSeen
from ledger_server.operator.head_form import FiledHead, PublishedHead
from signed_notes.notes import Note

TIME = datetime(2030, 1, 1, tzinfo=UTC)


class Journal(NamedTuple):
    """A journal as it was written: the bytes of each record, and the epoch in which it was."""

    records: tuple[bytes, ...]
    epochs: tuple[str, ...]

    @property
    def hashes(self) -> list[bytes]:
        """The chain."""
        return hashes_of(self.records)


def hashes_of(records: tuple[bytes, ...]) -> list[bytes]:
    """Return the chain of records."""
    chain = [bytes(32)]
    for record in records:
        chain.append(hashlib.sha256(chain[-1] + record).digest())
    return chain[1:]


def written(begins: list[bool]) -> Journal:
    """Return a journal in which some records begin an epoch."""
    records: list[bytes] = []
    epochs: list[str] = []
    for sequence, begin in enumerate(begins, 1):
        record = journal_pb2.JournalRecord(sequence=sequence, tenant_id="casino")
        if begin:
            record.epoch_begun.epoch = f"{sequence:08}"
        else:
            record.account_opened.account_id = f"account-{sequence}"
        records.append(record.SerializeToString())
        epochs.append(f"{sequence:08}" if begin else (epochs[-1] if epochs else ""))
    return Journal(tuple(records), tuple(epochs))


def heads_of(journal: Journal, *sequences: int) -> list[FiledHead]:
    """Return heads published of these records, at line 10 times the sequence."""
    return [
        FiledHead(
            10 * each,
            PublishedHead(
                key_name="k",
                tenant_id="casino",
                sequence=each,
                chain_hash=journal.hashes[each - 1],
                epoch=journal.epochs[each - 1],
                time=TIME,
            ),
            Note("", ()),
        )
        for each in sequences
    ]


def walked(
    heads: list[FiledHead],
    records: tuple[bytes, ...],
    hashes: list[bytes],
    *,
    epoch: str,
    sequences: list[int] | None = None,
    newest: int | None = None,
) -> tuple[ChainWalk, ChainBreak | None]:
    """Walk through what a server tells."""
    walk = ChainWalk("casino", heads)
    for sequence, record, chain_hash in zip(
        sequences or range(1, len(records) + 1), records, hashes, strict=True
    ):
        entry = journal_pb2.JournalEntry(sequence=sequence, record_bytes=record, chain_hash=chain_hash)
        if broken := walk.take(entry):
            return walk, broken
    tenant = tenant_pb2.Tenant(
        head_sequence=len(records) if newest is None else newest,
        head_chain_hash=hashes[-1] if hashes else bytes(32),
        head_epoch=epoch,
    )
    return walk, walk.end(tenant)


JOURNALS = st.lists(st.booleans(), min_size=2, max_size=12).map(written)


@given(JOURNALS, st.data())
def test_journal_extends_every_head_that_was_published_of_it(journal: Journal, data: st.DataObject) -> None:
    """Any number of them, the same one twice, across epochs."""
    count = len(journal.records)
    published = data.draw(st.lists(st.integers(1, count), min_size=1, max_size=5))
    walk, broken = walked(
        heads_of(journal, *published), journal.records, journal.hashes, epoch=journal.epochs[-1]
    )

    assert broken is None
    assert [each.head.sequence for each in walk.held] == sorted(published)
    assert (walk.sequence, walk.chain_hash) == (count, journal.hashes[-1])
    begun = [EpochSeen(e, n) for n, e in enumerate(journal.epochs, 1) if e == f"{n:08}"]
    assert walk.epochs == begun


@given(JOURNALS, st.data())
def test_byte_that_was_altered_is_found_where_it_is(journal: Journal, data: st.DataObject) -> None:
    """Before and behind heads; the chain hashes are as they were."""
    count = len(journal.records)
    at = data.draw(st.integers(1, count))
    record = bytearray(journal.records[at - 1])
    record[data.draw(st.integers(0, len(record) - 1))] ^= data.draw(st.integers(1, 255))
    altered = (*journal.records[: at - 1], bytes(record), *journal.records[at:])

    _, broken = walked(heads_of(journal, 1), altered, journal.hashes, epoch=journal.epochs[-1])

    assert broken is not None
    assert broken.sequence == at
    assert "altered" in broken.text


@given(JOURNALS, st.data())
def test_history_that_was_written_anew_is_found_at_the_next_head(
    journal: Journal, data: st.DataObject
) -> None:
    """Although its own chain, its tenant and its epochs fit together."""
    count = len(journal.records)
    at = data.draw(st.integers(1, count))
    published = data.draw(st.lists(st.integers(1, count), min_size=1, max_size=4, unique=True))
    forged = journal_pb2.JournalRecord(sequence=at, tenant_id="casino")
    forged.account_opened.account_id = "forged"
    records = (*journal.records[: at - 1], forged.SerializeToString(), *journal.records[at:])
    epochs = [e for n, e in enumerate(journal.epochs, 1) if e == f"{n:08}" and n != at]

    walk, broken = walked(
        heads_of(journal, *published), records, hashes_of(records), epoch=epochs[-1] if epochs else ""
    )

    later = [each for each in sorted(published) if each >= at]
    # Behind the newest head nobody outside knows better.
    assert (None if broken is None else broken.sequence) == (later[0] if later else None)
    assert [each.head.sequence for each in walk.held] == sorted(each for each in published if each < at)
    if broken is not None:
        assert broken.line == 10 * later[0]
        assert "another record" in broken.text


@given(JOURNALS, st.data())
def test_older_journal_is_found_at_the_first_head_beyond_it(journal: Journal, data: st.DataObject) -> None:
    """As a restored backup is; the heads before still hold."""
    count = len(journal.records)
    kept = data.draw(st.integers(1, count - 1))
    published = data.draw(st.lists(st.integers(1, count), min_size=1, max_size=4, unique=True))

    walk, broken = walked(
        heads_of(journal, *published),
        journal.records[:kept],
        journal.hashes[:kept],
        epoch=journal.epochs[kept - 1],
    )

    beyond = sorted(each for each in published if each > kept)
    assert (None if broken is None else broken.sequence) == (beyond[0] if beyond else None)
    assert [each.head.sequence for each in walk.held] == sorted(each for each in published if each <= kept)
    if broken is not None:
        assert broken.line == 10 * beyond[0]
        assert f"ends at record {kept}" in broken.text


@given(JOURNALS, st.data())
def test_record_that_is_missing_is_found(journal: Journal, data: st.DataObject) -> None:
    """In the middle, or the last one of which the tenant's row still tells."""
    count = len(journal.records)
    at = data.draw(st.integers(1, count))
    sequences = [each for each in range(1, count + 1) if each != at]

    _, broken = walked(
        heads_of(journal, count),
        tuple(journal.records[each - 1] for each in sequences),
        [journal.hashes[each - 1] for each in sequences],
        sequences=sequences,
        epoch=journal.epochs[-1],
        newest=count,
    )

    assert broken is not None
    assert broken.sequence == at
    assert "missing" in broken.text


def test_tenant_that_is_gone_is_a_lost_journal() -> None:
    """Its heads say that there was one."""
    broken = ChainWalk("casino", heads_of(written([False] * 3), 3, 2)).no_tenant()

    assert broken is not None
    assert (broken.sequence, broken.line) == (2, 20)
    assert "no such tenant" in broken.text


JOURNAL = written([False, True, False])


@pytest.mark.parametrize(
    ("field", "told"),
    [
        ("epoch of a head", (3, 30, "epoch")),
        ("epoch of the tenant", (3, None, "no record says so")),
        ("hash of the tenant", (3, None, "chain hash")),
        ("tenant of a record", (2, None, "'poker'")),
        ("sequence of a record", (2, None, "record 7")),
        ("no record", (2, None, "can't be read")),
    ],
)
def test_what_contradicts_the_bytes_is_told(field: str, told: tuple[int, int | None, str]) -> None:
    """An epoch of which no record tells, and records that are another's; each with a chain that fits."""
    heads = heads_of(JOURNAL, 3)
    records, epoch = JOURNAL.records, JOURNAL.epochs[-1]
    match field:
        case "epoch of a head":
            [(line, head, note)] = heads
            heads = [
                FiledHead(
                    line,
                    PublishedHead(
                        key_name=head.key_name,
                        tenant_id=head.tenant_id,
                        sequence=head.sequence,
                        chain_hash=head.chain_hash,
                        epoch="zzzzzzzz",
                        time=head.time,
                    ),
                    note,
                )
            ]
        case "epoch of the tenant":
            epoch = "zzzzzzzz"
        case "tenant of a record":
            other = journal_pb2.JournalRecord(sequence=2, tenant_id="poker")
            records = (records[0], other.SerializeToString(), records[2])
        case "sequence of a record":
            other = journal_pb2.JournalRecord(sequence=7, tenant_id="casino")
            records = (records[0], other.SerializeToString(), records[2])
        case "no record":
            records = (records[0], b"\xff\xff", records[2])
    hashes = hashes_of(records)
    walk = ChainWalk("casino", heads)
    broken = None
    for sequence, (record, chain_hash) in enumerate(zip(records, hashes, strict=True), 1):
        entry = journal_pb2.JournalEntry(sequence=sequence, record_bytes=record, chain_hash=chain_hash)
        broken = broken or walk.take(entry)
    tenant = tenant_pb2.Tenant(
        head_sequence=3,
        head_chain_hash=bytes(32) if field == "hash of the tenant" else hashes[-1],
        head_epoch=epoch,
    )
    broken = broken or walk.end(tenant)

    assert broken is not None
    assert (broken.sequence, broken.line) == told[:2]
    assert told[2] in broken.text
