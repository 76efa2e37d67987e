"""What `defter restored` says of a loss, and the steps that are left."""

from __future__ import annotations

import hashlib
import itertools
from datetime import UTC, datetime

import pytest
from defter.ledger.v1 import journal_pb2, tenant_pb2
from defter.payments.v1 import outbound_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from ledger_server.operator.connection import Exit
from ledger_server.operator.head_chain import ChainWalk
from ledger_server.operator.head_form import FiledHead, PublishedHead
from ledger_server.operator.loss import Situation, TenantLoss, loss_of, sentences, steps
from signed_notes.notes import Note

BEFORE, NOW = "aaaaaaaa", "bbbbbbbb"
TIME = datetime(2030, 1, 1, tzinfo=UTC)


def chain_of(count: int, begun: dict[int, str], *, salt: str) -> list[journal_pb2.JournalEntry]:
    """Return that many records, of which some begin an epoch."""
    entries: list[journal_pb2.JournalEntry] = []
    for sequence in range(1, count + 1):
        record = journal_pb2.JournalRecord(sequence=sequence, tenant_id="casino")
        if sequence in begun:
            record.epoch_begun.epoch = begun[sequence]
        else:
            record.account_opened.account_id = f"{salt}-{sequence}"
        content = record.SerializeToString()
        chain_hash = hashlib.sha256((entries[-1].chain_hash if entries else bytes(32)) + content).digest()
        entries.append(
            journal_pb2.JournalEntry(sequence=sequence, record_bytes=content, chain_hash=chain_hash)
        )
    return entries


def head_of(entry: journal_pb2.JournalEntry, epoch: str) -> FiledHead:
    """Return the head that was published of a record."""
    head = PublishedHead(
        key_name="k",
        tenant_id="casino",
        sequence=entry.sequence,
        chain_hash=entry.chain_hash,
        epoch=epoch,
        time=TIME,
    )
    return FiledHead(entry.sequence, head, Note("", ()))


def compared(entries: list[journal_pb2.JournalEntry], head: FiledHead, epoch: str) -> TenantLoss:
    """Return what a head says of a journal; `epoch` is that of its newest record."""
    walk = ChainWalk("casino", [head])
    broken = next((found for each in entries if (found := walk.take(each))), None)
    if broken is None:
        newest = entries[-1]
        broken = walk.end(
            tenant_pb2.Tenant(
                head_sequence=newest.sequence, head_chain_hash=newest.chain_hash, head_epoch=epoch
            )
        )
    return loss_of("casino", walk, broken, heads=[head], epoch=NOW)


@given(lived=st.integers(2, 9), kept=st.integers(2, 9), since=st.integers(0, 3), published=st.integers(2, 12))
def test_loss_is_told_of_every_history(lived: int, kept: int, since: int, published: int) -> None:
    """A journal of which a part is lost, whether or not a tenant had a record since; a head of any record.

    A published record is said to be there exactly if it is, and what may be lost begins behind what is kept.
    """
    kept, published = min(kept, lived), min(published, lived)
    before = chain_of(lived, {1: BEFORE}, salt="before")
    after = [*before[:kept]]
    if since:
        after = chain_of(kept + since, {1: BEFORE, kept + 1: NOW}, salt="before")
    loss = compared(after, head_of(before[published - 1], BEFORE), NOW if since else BEFORE)

    assert (loss.broken is None) == (published <= kept)
    assert not loss.is_current
    assert not loss.is_unnoticed
    if loss.broken is None:
        assert loss.kept == kept
        assert f"after record {kept}," in loss.text
        assert "may be lost" in loss.text
    else:
        assert loss.text.startswith(f"LOST: published up to record {published} at 2030-01-01T00:00:00Z")


@given(lived=st.integers(2, 9), published=st.integers(2, 9))
def test_head_of_this_epoch_says_that_nothing_is_lost(lived: int, published: int) -> None:
    """It was published after the loss."""
    entries = chain_of(max(lived, published), {1: BEFORE, 2: NOW}, salt="now")
    loss = compared(entries, head_of(entries[published - 1], NOW), NOW)

    assert (loss.broken, loss.is_current) == (None, True)
    assert "lost" not in loss.text


@given(lived=st.integers(2, 9), kept=st.integers(1, 9), since=st.integers(0, 3), published=st.integers(2, 9))
@pytest.mark.parametrize("stopped", [False, True])
def test_lost_head_of_this_epoch_has_steps(
    stopped: bool, lived: int, kept: int, since: int, published: int
) -> None:
    """Files were put back under an epoch that nobody ended: calls are stopped, and another epoch begins.

    The journal ends earlier, or has gone on with other records, in the epoch of the head.
    """
    kept, published = min(kept, lived - 1), min(published, lived)
    before = chain_of(lived, {1: NOW}, salt="before")
    other = chain_of(kept + since, {1: NOW}, salt="before")
    if since:
        content = other[kept].record_bytes + b"\xf8\x7f\x01"  # a field that nobody knows: another record
        other[kept].record_bytes = content
        chain_hash = other[kept - 1].chain_hash
        for entry in other[kept:]:
            chain_hash = hashlib.sha256(chain_hash + entry.record_bytes).digest()
            entry.chain_hash = chain_hash
    loss = compared(other, head_of(before[published - 1], NOW), NOW)
    outbound = outbound_pb2.Outbound(stopped=stopped, epoch=NOW)
    commands = [command for _, each in steps(Situation(outbound, [loss], {})) for command in each]

    assert loss.is_unnoticed == (loss.broken is not None) == (published > kept)
    lost = ["psql -c"] if stopped else ["defter outbound", "psql -c"]
    assert [" ".join(each.split()[:2]) for each in commands] == (lost if published > kept else [])


SITUATIONS = tuple(itertools.product((False, True), repeat=5))


@pytest.mark.parametrize(("stopped", "noticed", "broken", "unreconciled", "parked"), SITUATIONS)
def test_exit_code_and_steps_follow_from_what_is_left(
    stopped: bool, noticed: bool, broken: bool, unreconciled: bool, parked: bool
) -> None:
    """Each mix: 0 only where nothing can be lost, or somebody has answered for it."""
    outbound = outbound_pb2.Outbound(stopped=stopped, epoch=NOW, note="why", actor="ada")
    if noticed:
        outbound.past_epochs.append(BEFORE)
        outbound.known_until_time.CopyFrom(Timestamp(seconds=1))
        outbound.begin_time.CopyFrom(Timestamp(seconds=2))
        outbound.reconcile_from_time.CopyFrom(Timestamp(seconds=-3_600))
        if unreconciled:
            outbound.unreconciled.add(tenant_id="casino", provider="mock")
    head = head_of(chain_of(1, {}, salt="x")[0], "").head
    loss = TenantLoss("casino", last=head, held=head, kept=1, sequence=1)
    if broken:
        walk = ChainWalk("casino", [head_of(chain_of(2, {}, salt="x")[1], "")])
        loss = loss._replace(broken=walk.no_tenant())
    found = Situation(outbound, [loss], {("casino", "PARKED"): 2} if parked else {})

    open_ = stopped and noticed
    assert found.code == (Exit.FOUND if broken else Exit.PARTIAL if open_ else Exit.DONE)
    commands = [command for _, each in steps(found) for command in each]
    assert [" ".join(each.split()[:3]) for each in commands] == (
        [
            *(["defter reconcile --tenant"] if unreconciled else []),
            *(["defter events list"] if parked else []),
            "defter outbound resume",
        ]
        if open_
        else []
    )
    runs = [each for each in commands if each.startswith("defter reconcile")]
    assert all("--from 1969-12-31T23:00:00Z --to 1970-01-01T00:00:02Z" in each for each in runs)
    told = "\n".join(sentences(found))
    assert ("may be lost" in told.replace(loss.text, "")) == open_
    assert ("LOST" in told) == broken


def test_nothing_published_is_told_so() -> None:
    """Of a tenant, and of all; neither counts as nothing lost."""
    assert "nobody can tell" in TenantLoss("poker").text
    assert "can't be told" in "\n".join(sentences(Situation(outbound_pb2.Outbound(), [], {})))
