"""Records: their composed bytes are what protobuf itself would write."""

from datetime import UTC, datetime

import pytest
from defter.ledger.v1 import journal_pb2
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger_server.domain.decisions.ledger import decide_ledger, reject
from ledger_server.domain.errors import InsufficientFunds
from ledger_server.domain.state.commands import Method, NamedCaller, RequestKey
from ledger_server.domain.state.facts import Fact
from ledger_server.engine.records.journal import RecordEncoder, caller_of, chain, content_of
from ledger_server.engine.records.wire_format import length_delimited, varint
from tests.unit.books import NOW, Books, transfer


def facts() -> list[Fact]:
    """Return one fact of every shape that matters to the encoder."""
    books = Books()
    books.account("a", counters=(0, 10**15, 0, 0))
    books.account("b")
    return [
        decide_ledger(books.working_set, transfer("a", "b", 10**12), NOW),
        decide_ledger(
            books.working_set, replace(transfer("a", "b", 1), metadata={"k": "v"}, reference="r"), NOW
        ),
        reject(InsufficientFunds(account_id="a")),
    ]


@pytest.mark.parametrize("fact", facts(), ids=lambda fact: type(fact).__name__)
@pytest.mark.parametrize("request_key", [None, RequestKey(Method.PostTransaction, "key-1", player_id="")])
@pytest.mark.parametrize(
    "caller", [None, NamedCaller("spiffe://d/game", ""), NamedCaller("spiffe://d/console", "ada")]
)
def test_record_equals_what_protobuf_serializes(
    fact: Fact, request_key: RequestKey | None, caller: NamedCaller | None
) -> None:
    """Parsing a record and serializing it again gives the very same bytes."""
    encoder = RecordEncoder("unit", Books().working_set.ids)
    content, record = encoder.encode(
        fact,
        sequence=300,
        record_time=NOW,
        request=request_key,
        digest=b"d" * 16 if request_key else None,
        caller=caller,
    )
    parsed = journal_pb2.JournalRecord.FromString(record)
    assert parsed.SerializeToString(deterministic=True) == record
    assert content_of(parsed) == (fact.kind, content)
    assert parsed.sequence == 300
    assert parsed.record_time.ToDatetime(tzinfo=UTC) == NOW
    assert parsed.request.idempotency_key == ("key-1" if request_key else "")
    assert caller_of(parsed) == caller


def test_record_time_of_a_second_batch_is_its_own() -> None:
    """The encoder keeps the time of one batch, and notices the next."""
    encoder = RecordEncoder("unit", Books().working_set.ids)
    later = datetime(2027, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
    for moment in (NOW, later, NOW):
        fact = facts()[0]
        _, record = encoder.encode(
            fact, sequence=1, record_time=moment, request=None, digest=None, caller=None
        )
        read = journal_pb2.JournalRecord.FromString(record)
        assert read.record_time.ToDatetime(tzinfo=UTC) == moment
        assert read.transaction_posted.record_time == read.record_time


@given(st.integers(min_value=0, max_value=2**63 - 1))
def test_varint_is_what_protobuf_reads(number: int) -> None:
    """Any count survives the hand-written varint."""
    record = journal_pb2.JournalRecord.FromString(b"\x08" + varint(number))
    assert record.sequence == number


@given(st.text(max_size=400))
def test_length_delimited_is_what_protobuf_reads(text: str) -> None:
    """Any string survives the hand-written framing."""
    record = journal_pb2.JournalRecord.FromString(length_delimited(2, text.encode()))
    assert record.tenant_id == text


def test_chain_depends_on_every_byte_before() -> None:
    """The same record gets another hash behind another history."""
    assert chain(bytes(32), b"x") != chain(bytes(31) + b"\x01", b"x")
    assert chain(bytes(32), b"x") != chain(bytes(32), b"y")
