"""Records: their composed bytes are what protobuf itself would write."""

from datetime import UTC, datetime

import pytest
from defter.ledger.v1 import journal_pb2, posting_pb2
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger_server.domain.decisions.ledger import decide_ledger, reject
from ledger_server.domain.errors import InsufficientFunds
from ledger_server.domain.ledger.accounts import Account, AccountKind, AccountState, Limits
from ledger_server.domain.state.commands import Method, NamedCaller, RequestKey
from ledger_server.domain.state.facts import AccountChanged, Fact, FactKind
from ledger_server.engine.records.entries import entry_bytes
from ledger_server.engine.records.journal import (
    NO_CHAIN_HASH,
    RecordEncoder,
    account_message,
    caller_of,
    chain,
    content_of,
)
from ledger_server.engine.records.wire_format import boolean, length_delimited, number, varint
from ledger_server.store.queries.journal import Entry
from tests.unit.books import LATER, NOW, Books, transfer


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


# Few values each, so that neighbours are often alike but for one field, or for none.
LIKE_ACCOUNTS = st.builds(
    Account,
    number=st.integers(1, 3),
    account_id=st.sampled_from(["a", "player:1:real:EUR", "player:žluťoučký:real:EUR", "x" * 255]),
    kind=st.sampled_from(AccountKind),
    currency=st.sampled_from(["EUR", "JPY"]),
    state=st.sampled_from(AccountState),
    limits=st.builds(
        Limits, min_available=st.sampled_from([None, 0, -5]), max_balance=st.sampled_from([None, 0, 7])
    ),
    open_time=st.sampled_from([NOW, LATER]),
    metadata=st.sampled_from([{}, {"k": "v"}, {"k": "w"}]),
    continues=st.sampled_from(["", "b"]),
    continued_by=st.sampled_from(["", "c"]),
)


@given(LIKE_ACCOUNTS, st.lists(LIKE_ACCOUNTS, max_size=5), st.data())
def test_opened_accounts_are_recorded_one_by_one_whatever_was_opened_before(
    first: Account, others: list[Account], data: st.DataObject
) -> None:
    """What the encoder keeps of an account never gets into the record of another one."""
    encoder = RecordEncoder("unit", Books().working_set.ids)
    accounts = [first, *others]
    for other in others:  # the same one again, but for a single field
        name = data.draw(st.sampled_from(Account.__struct_fields__))
        accounts.append(replace(first, **{name: getattr(other, name)}))

    for account in accounts:
        fact = AccountChanged(FactKind.ACCOUNT_OPENED, account, note="")
        content, record = encoder.encode(
            fact, sequence=300, record_time=NOW, request=None, digest=None, caller=None
        )

        expected = account_message(account)
        assert content == expected.SerializeToString(deterministic=True)
        assert journal_pb2.JournalRecord.FromString(record).account_opened == expected


@given(st.integers(min_value=0, max_value=63), st.integers(-1, 1))
def test_varint_has_the_bytes_that_protobuf_writes(power: int, beside: int) -> None:
    """Where a number gets a byte more as well; records are hashed, so their bytes must not differ."""
    number = min(max(2**power + beside, 1), 2**63 - 1)
    message = journal_pb2.JournalRecord(sequence=number)
    assert b"\x08" + varint(number) == message.SerializeToString()


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


@given(st.integers(min_value=0, max_value=2**63 - 1), st.booleans(), st.booleans())
def test_numbers_and_flags_are_what_protobuf_writes(count: int, first: bool, second: bool) -> None:
    """Nothing of a zero or of false, as in messages that protobuf has made."""
    message = posting_pb2.Transaction(sequence=count, limit_breached=first, outside=second)
    composed = number(2, count) + boolean(11, value=first) + boolean(12, value=second)

    assert composed == message.SerializeToString(deterministic=True)


@pytest.mark.parametrize("bytes_only", [False, True])
@given(st.integers(1, 2**63 - 1), st.text(min_size=1, max_size=300))
def test_entry_has_the_bytes_that_protobuf_writes(bytes_only: bool, sequence: int, tenant_id: str) -> None:
    """The record as it was hashed, and as a message unless the caller reads the bytes alone."""
    record = journal_pb2.JournalRecord(sequence=sequence, tenant_id=tenant_id)
    entry = Entry(sequence, record.SerializeToString(), b"c" * 32)

    expected = journal_pb2.JournalEntry(
        sequence=sequence,
        record=None if bytes_only else record,
        record_bytes=entry.record,
        chain_hash=entry.chain_hash,
    )
    assert entry_bytes(entry, bytes_only=bytes_only) == expected.SerializeToString(deterministic=True)


def test_chain_begins_behind_zeros() -> None:
    """Stored journals began there, so no other value will do."""
    assert bytes(32) == NO_CHAIN_HASH


def test_chain_depends_on_every_byte_before() -> None:
    """The same record gets another hash behind another history."""
    assert chain(bytes(32), b"x") != chain(bytes(31) + b"\x01", b"x")
    assert chain(bytes(32), b"x") != chain(bytes(32), b"y")
