"""Own the list of bad input: each is refused by name, and nothing is written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from defter.ledger.v1 import account_pb2, hold_pb2, journal_pb2, posting_pb2, tenant_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tests.support.ledger import Ledger
from tests.support.requests import (
    CREDIT,
    DEBIT,
    LARGEST,
    item,
    leg,
    limits,
    new_account,
    transaction,
    transfer,
)
from tests.support.service import Service
from tests.support.wire import raw_stream, raw_unary, refusal

LONG = "x" * 256
FAR = 253_402_300_800  # The first second of the year 10000.
OUT_OF_ENUM = 99


@dataclass(frozen=True)
class Bad:
    """A call that must be refused before anything is decided."""

    name: str
    reason: str
    field: str | None
    call: Callable[[Ledger], Awaitable[object]]


def posting(name: str, reason: str, field: str | None, **changes: Any) -> Bad:
    """Return a bad PostTransaction: a good one with some fields of its transaction changed."""

    def call(ledger: Ledger) -> Awaitable[object]:
        request = ledger.post_request(transfer("house", "ann", 1))
        changed = posting_pb2.NewTransaction(**changes)
        for changed_field in changes:
            request.transaction.ClearField(changed_field)  # type: ignore[arg-type]  # by name
        request.transaction.MergeFrom(changed)
        return ledger.stubs.postings.PostTransaction(request)

    return Bad(name, reason, field, call)


def legs(name: str, reason: str, field: str | None, *wanted: posting_pb2.NewPosting) -> Bad:
    """Return a bad PostTransaction with these legs."""
    return Bad(name, reason, field, lambda ledger: ledger.submit(transaction(*wanted)))


def keyed(name: str, reason: str, key: str) -> Bad:
    """Return a PostTransaction with a bad key."""

    def call(ledger: Ledger) -> Awaitable[object]:
        request = ledger.post_request(transfer("house", "ann", 1))
        request.idempotency_key = key
        return ledger.stubs.postings.PostTransaction(request)

    return Bad(name, reason, "idempotency_key", call)


def opening(name: str, reason: str, field: str | None, **changes: Any) -> Bad:
    """Return a bad OpenAccount: a good one with some fields of its account changed."""

    def call(ledger: Ledger) -> Awaitable[object]:
        wanted = new_account("bob")
        for changed_field in changes:
            wanted.ClearField(changed_field)  # type: ignore[arg-type]  # by name
        wanted.MergeFrom(account_pb2.NewAccount(**changes))
        return ledger.stubs.accounts.OpenAccount(
            account_pb2.OpenAccountRequest(
                tenant_id=ledger.tenant_id, idempotency_key=ledger.new_key(), account=wanted
            )
        )

    return Bad(name, reason, field, call)


def holding(name: str, reason: str, field: str | None, **changes: Any) -> Bad:
    """Return a bad PlaceHold: a good one with some fields changed."""

    def call(ledger: Ledger) -> Awaitable[object]:
        request = hold_pb2.PlaceHoldRequest(
            tenant_id=ledger.tenant_id,
            idempotency_key=ledger.new_key(),
            debit_account_id="house",
            credit_account_id="ann",
            amount_minor=1,
            currency_code="EUR",
            type=account_pb2.TRANSACTION_TYPE_BET,
        )
        for changed_field in changes:
            request.ClearField(changed_field)  # type: ignore[arg-type]  # by name
        request.MergeFrom(hold_pb2.PlaceHoldRequest(**changes))
        return ledger.stubs.holds.PlaceHold(request)

    return Bad(name, reason, field, call)


def batch(name: str, reason: str, field: str | None, count: int, broken: bool = False, **changes: Any) -> Bad:
    """Return a bad BatchPostTransactions with that many items, the last one broken if asked."""

    def call(ledger: Ledger) -> Awaitable[object]:
        items = [item(f"item-{n}", transfer("house", "ann", 1)) for n in range(count)]
        if broken:
            items[-1].transaction.postings[0].amount_minor = 0
        request = ledger.batch_request(*items)
        for changed_field, value in changes.items():
            setattr(request, changed_field, value)
        return ledger.stubs.postings.BatchPostTransactions(request)

    return Bad(name, reason, field, call)


def tenant(name: str, reason: str, tenant_id: str) -> Bad:
    """Return a CreateTenant with a bad id."""

    def call(ledger: Ledger) -> Awaitable[object]:
        return ledger.stubs.tenants.CreateTenant(
            tenant_pb2.CreateTenantRequest(tenant_id=tenant_id, idempotency_key="key")
        )

    return Bad(name, reason, "tenant_id", call)


def capturing(name: str, reason: str, field: str | None, **changes: Any) -> Bad:
    """Return a bad CaptureHold."""

    def call(ledger: Ledger) -> Awaitable[object]:
        request = hold_pb2.CaptureHoldRequest(
            tenant_id=ledger.tenant_id, idempotency_key=ledger.new_key(), **changes
        )
        return ledger.stubs.holds.CaptureHold(request)

    return Bad(name, reason, field, call)


def extending(name: str, reason: str, field: str | None, **changes: Any) -> Bad:
    """Return a bad ExtendHold."""

    def call(ledger: Ledger) -> Awaitable[object]:
        request = hold_pb2.ExtendHoldRequest(
            tenant_id=ledger.tenant_id, idempotency_key=ledger.new_key(), **changes
        )
        return ledger.stubs.holds.ExtendHold(request)

    return Bad(name, reason, field, call)


HUNDRED_YEARS = 36_500 * 86_400
BAD_LENGTHS = [
    ("length_zero", "TIME_TO_LIVE_NOT_POSITIVE", Duration()),
    ("length_below_a_microsecond", "TIME_TO_LIVE_NOT_POSITIVE", Duration(nanos=999)),
    ("length_below_zero", "TIME_TO_LIVE_NOT_POSITIVE", Duration(nanos=-1)),
    ("length_far_below_zero", "TIME_TO_LIVE_NOT_POSITIVE", Duration(seconds=-FAR)),
    ("length_a_bit_too_long", "TIME_TO_LIVE_TOO_LONG", Duration(seconds=HUNDRED_YEARS, nanos=1)),
    ("length_far_too_long", "TIME_TO_LIVE_TOO_LONG", Duration(seconds=2**63 - 1)),
    ("length_of_two_signs", "FIELD_MALFORMED", Duration(seconds=1, nanos=-1)),
    ("length_of_other_signs", "FIELD_MALFORMED", Duration(seconds=-1, nanos=1)),
    ("length_of_many_nanos", "FIELD_MALFORMED", Duration(nanos=1_000_000_000)),
]

POSTINGS = "transaction.postings"
EFFECTIVE_TIME = "transaction.effective_time"

BAD_INPUT = [
    # Keys.
    keyed("missing_key", "IDEMPOTENCY_KEY_MISSING", ""),
    keyed("long_key", "IDEMPOTENCY_KEY_MALFORMED", LONG),
    keyed("key_with_control_character", "IDEMPOTENCY_KEY_MALFORMED", "a\x00b"),
    keyed("key_beyond_ascii", "IDEMPOTENCY_KEY_MALFORMED", "clé"),
    # Legs.
    legs("no_legs", "POSTING_COUNT_OUT_OF_RANGE", POSTINGS),
    legs("one_leg", "POSTING_COUNT_OUT_OF_RANGE", POSTINGS, leg("house", DEBIT, 1)),
    legs(
        "1001_legs",
        "POSTING_COUNT_OUT_OF_RANGE",
        POSTINGS,
        leg("house", DEBIT, 1000),
        *(leg("ann", CREDIT, 1) for _ in range(1000)),
    ),
    legs(
        "zero_amount",
        "AMOUNT_NOT_POSITIVE",
        f"{POSTINGS}[1].amount_minor",
        leg("house", DEBIT, 1),
        leg("ann", CREDIT, 0),
    ),
    legs(
        "negative_amount",
        "AMOUNT_NOT_POSITIVE",
        f"{POSTINGS}[0].amount_minor",
        leg("house", DEBIT, -1),
        leg("ann", CREDIT, -1),
    ),
    legs(
        "unbalanced",
        "UNBALANCED_TRANSACTION",
        POSTINGS,
        leg("house", DEBIT, 2),
        leg("ann", CREDIT, 1),
    ),
    legs(
        "both_on_one_side",
        "UNBALANCED_TRANSACTION",
        POSTINGS,
        leg("house", DEBIT, 1),
        leg("ann", DEBIT, 1),
    ),
    legs(
        "mixed_currencies",
        "UNBALANCED_TRANSACTION",
        POSTINGS,
        leg("house", DEBIT, 1, "EUR"),
        leg("ann", CREDIT, 1, "USD"),
    ),
    legs(
        "sums_that_would_wrap_around",
        "UNBALANCED_TRANSACTION",
        POSTINGS,
        leg("house", DEBIT, LARGEST),
        leg("house", DEBIT, LARGEST),
        leg("house", DEBIT, 2),
        leg("ann", CREDIT, 1),
    ),
    legs(
        "unknown_currency",
        "CURRENCY_UNKNOWN",
        f"{POSTINGS}[0].currency_code",
        leg("house", DEBIT, 1, "eur"),
        leg("ann", CREDIT, 1, "eur"),
    ),
    legs(
        "missing_currency",
        "FIELD_MISSING",
        f"{POSTINGS}[0].currency_code",
        leg("house", DEBIT, 1, ""),
        leg("ann", CREDIT, 1, ""),
    ),
    legs(
        "missing_direction",
        "FIELD_MISSING",
        f"{POSTINGS}[0].direction",
        leg("house", account_pb2.DIRECTION_UNSPECIFIED, 1),
        leg("ann", CREDIT, 1),
    ),
    legs(
        "direction_out_of_enum",
        "FIELD_MALFORMED",
        f"{POSTINGS}[1].direction",
        leg("house", DEBIT, 1),
        leg("ann", OUT_OF_ENUM, 1),  # type: ignore[arg-type]  # that is the point
    ),
    legs(
        "missing_account",
        "FIELD_MISSING",
        f"{POSTINGS}[1].account_id",
        leg("house", DEBIT, 1),
        leg("", CREDIT, 1),
    ),
    # A transaction's other fields.
    posting("missing_type", "FIELD_MISSING", "transaction.type", type=0),
    posting("type_out_of_enum", "FIELD_MALFORMED", "transaction.type", type=OUT_OF_ENUM),
    posting("long_reference", "FIELD_TOO_LONG", "transaction.reference", reference=LONG),
    posting(
        "too_many_metadata",
        "FIELD_TOO_LONG",
        "transaction.metadata",
        metadata={str(n): "" for n in range(33)},
    ),
    posting(
        "time_before_1970",
        "FIELD_OUT_OF_RANGE",
        EFFECTIVE_TIME,
        effective_time=Timestamp(seconds=-1),
    ),
    posting(
        "time_after_9999",
        "FIELD_OUT_OF_RANGE",
        EFFECTIVE_TIME,
        effective_time=Timestamp(seconds=FAR),
    ),
    posting(
        "time_far_beyond_calendars",
        "FIELD_OUT_OF_RANGE",
        EFFECTIVE_TIME,
        effective_time=Timestamp(seconds=2**62),
    ),
    posting(
        "time_with_wrong_nanoseconds",
        "FIELD_OUT_OF_RANGE",
        EFFECTIVE_TIME,
        effective_time=Timestamp(seconds=1, nanos=-1),
    ),
    posting(
        "time_with_too_many_nanoseconds",
        "FIELD_OUT_OF_RANGE",
        EFFECTIVE_TIME,
        effective_time=Timestamp(seconds=1, nanos=10**9),
    ),
    # Accounts.
    opening("missing_account_id", "FIELD_MISSING", "account.account_id", account_id=""),
    opening("long_account_id", "FIELD_TOO_LONG", "account.account_id", account_id=LONG),
    opening("account_id_beyond_ascii", "FIELD_MALFORMED", "account.account_id", account_id="ç"),
    opening("account_id_with_blank", "FIELD_MALFORMED", "account.account_id", account_id="a b"),
    opening("missing_kind", "FIELD_MISSING", "account.kind", kind=0),
    opening("kind_out_of_enum", "FIELD_MALFORMED", "account.kind", kind=OUT_OF_ENUM),
    opening("account_in_no_currency", "FIELD_MISSING", "account.currency_code", currency_code=""),
    opening(
        "account_in_unknown_currency",
        "CURRENCY_UNKNOWN",
        "account.currency_code",
        currency_code="XXXX",
    ),
    opening("crossed_limits", "LIMITS_CONTRADICT", None, limits=limits(minimum=1, maximum=0)),
    opening(
        "long_metadata_value",
        "FIELD_TOO_LONG",
        "account.metadata",
        metadata={"key": "x" * 513},
    ),
    opening("long_metadata_key", "FIELD_TOO_LONG", "account.metadata", metadata={"k" * 65: "value"}),
    # Holds.
    holding("hold_of_nothing", "AMOUNT_NOT_POSITIVE", "amount_minor", amount_minor=0),
    holding("hold_for_itself", "SAME_ACCOUNT", None, credit_account_id="house"),
    holding("hold_without_type", "FIELD_MISSING", "type", type=0),
    holding("hold_in_unknown_currency", "CURRENCY_UNKNOWN", "currency_code", currency_code="QQQ"),
    holding(
        "hold_with_wrong_time",
        "FIELD_OUT_OF_RANGE",
        "expire_time",
        expire_time=Timestamp(seconds=FAR),
    ),
    *(
        make(f"{make.__name__}_with_{name}", reason, "time_to_live", time_to_live=given, **more)
        for make, more in ((holding, {}), (extending, {"hold_id": "x"}))
        for name, reason, given in BAD_LENGTHS
    ),
    *(
        make(f"{make.__name__}_twice", reason, "time_to_live", expire_time=at, time_to_live=given, **more)
        for make, more in ((holding, {}), (extending, {"hold_id": "x"}))
        for reason, given, at in (
            ("EXPIRE_TIME_GIVEN_TWICE", Duration(seconds=60), Timestamp(seconds=2_000_000_000)),
            ("EXPIRE_TIME_GIVEN_TWICE", Duration(), Timestamp()),
            ("EXPIRE_TIME_GIVEN_TWICE", Duration(seconds=FAR), Timestamp()),
            ("FIELD_MALFORMED", Duration(seconds=1, nanos=-1), Timestamp()),
        )
    ),
    extending("extending_to_no_time", "FIELD_MISSING", "expire_time", hold_id="x"),
    capturing("capture_without_id", "FIELD_MISSING", "hold_id"),
    capturing("capture_of_nothing", "AMOUNT_NOT_POSITIVE", "amount_minor", hold_id="x", amount_minor=0),
    # Batches.
    batch("empty_batch", "BATCH_SIZE_OUT_OF_RANGE", "items", 0),
    batch("batch_of_1001", "BATCH_SIZE_OUT_OF_RANGE", "items", 1001),
    batch("batch_without_mode", "FIELD_MISSING", "mode", 1, mode=0),
    batch("batch_in_unknown_mode", "FIELD_MALFORMED", "mode", 1, mode=OUT_OF_ENUM),
    batch(
        "batch_with_one_bad_item",
        "AMOUNT_NOT_POSITIVE",
        "items[2].transaction.postings[0].amount_minor",
        3,
        broken=True,
    ),
    # Tenants.
    tenant("missing_tenant", "FIELD_MISSING", ""),
    tenant("long_tenant", "FIELD_TOO_LONG", "x" * 64),
    tenant("tenant_in_capitals", "FIELD_MALFORMED", "Casino"),
    tenant("tenant_beginning_with_digit", "FIELD_MALFORMED", "1casino"),
]


@pytest.mark.parametrize("bad", BAD_INPUT, ids=lambda bad: bad.name)
async def test_send_bad_input_is_refused_and_writes_nothing(bad: Bad, ledger: Ledger) -> None:
    """The reason names the rule, the field is pointed at, and the journal is what it was."""
    await ledger.open("ann")
    head = await ledger.head()

    refused = await refusal(bad.call(ledger))

    assert refused.reason == bad.reason
    assert refused.metadata.get("field") == bad.field
    assert "" not in refused.violated_fields
    assert bad.field is None or bad.field in refused.violated_fields
    assert await ledger.head() == head


async def test_refuse_reversal_type_from_outside(ledger: Ledger) -> None:
    """Only ReverseTransaction makes reversals."""
    wanted = transaction(
        leg("house", DEBIT, 1),
        leg("house", CREDIT, 1),
        type_=account_pb2.TRANSACTION_TYPE_REVERSAL,
    )

    refused = await refusal(ledger.submit(wanted))

    assert refused.reason == "FIELD_MALFORMED"
    assert refused.metadata == {"field": "transaction.type"}


GARBAGE = (b"\xff", b"\x0a\xff\xff", b"\x00" * 32, b"\x0a\x02\xff\xfe")
MUTATING = (
    "AccountService/OpenAccount",
    "AccountService/BatchOpenAccounts",
    "PostingService/PostTransaction",
    "PostingService/BatchPostTransactions",
    "HoldService/PlaceHold",
    "HoldService/CaptureHold",
    "TenantService/CreateTenant",
)


@pytest.mark.parametrize("method", MUTATING)
async def test_send_garbage_bytes_is_refused_and_writes_nothing(method: str, ledger: Ledger) -> None:
    """Bytes that are no message, or hold a string that is no UTF-8, are the caller's fault."""
    head = await ledger.head()
    call = raw_unary(ledger.channel, method)

    reasons = [(await refusal(call(garbage))).reason for garbage in GARBAGE]

    assert set(reasons) == {"MALFORMED_MESSAGE"}
    assert await ledger.head() == head


async def test_send_garbage_in_stream_is_refused_and_writes_nothing(ledger: Ledger) -> None:
    """A stream ends at bytes that are no message."""
    call = raw_stream(ledger.channel, "PostingService/StreamTransactions")

    async def read() -> None:
        async for _ in call(iter([b"\xff\xff"])):
            pass

    refused = await refusal(read())

    assert refused.reason == "MALFORMED_MESSAGE"
    assert await ledger.head() == 2


async def test_send_oversized_message_leaves_channel_usable(ledger: Ledger) -> None:
    """The next call over the same channel is served."""
    await ledger.open("ann")
    oversized = ledger.post_request(transfer("house", "ann", 1))
    oversized.transaction.metadata["note"] = "x" * (5 * 1024 * 1024)

    refused = await refusal(ledger.stubs.postings.PostTransaction(oversized))

    assert refused.reason == "MESSAGE_TOO_LARGE"
    assert (await ledger.post("house", "ann", 1)).transaction_id


async def test_send_largest_documented_batch_is_taken(ledger: Ledger) -> None:
    """1,000 items are a batch, and 1,000 legs are a transaction."""
    await ledger.open("ann")
    items = [ledger.transfer_item("house", "ann", 1) for _ in range(1000)]
    wide = transaction(leg("house", DEBIT, 999), *(leg("ann", CREDIT, 1) for _ in range(999)))

    results = await ledger.batch(*items)
    again = await ledger.batch(*items)
    posted = await ledger.submit(wide)

    assert all(result.HasField("transaction") for result in results)
    assert [one.transaction for one in again] == [one.transaction for one in results]
    assert all(one.replayed for one in again)
    assert len(posted.postings) == 1000
    assert await ledger.posted("ann") == 1999


async def test_send_longest_documented_strings_are_taken(ledger: Ledger) -> None:
    """Bounds are inclusive, and counted in characters."""
    await ledger.open("a" * 255, key="k" * 255)
    wanted = transaction(
        leg("house", DEBIT, 1),
        leg("a" * 255, CREDIT, 1),
        reference="é" * 255,
        metadata={f"{n:064}": "é" * 512 for n in range(32)},
    )

    posted = await ledger.submit(wanted)

    assert posted.reference == "é" * 255
    assert posted.metadata == wanted.metadata


@pytest.mark.parametrize(
    ("request_message", "field"),
    [
        (journal_pb2.ListJournalRequest(after_sequence=-1), "after_sequence"),
        (journal_pb2.ListJournalRequest(page_size=-1), "page_size"),
        (journal_pb2.ListJournalRequest(page_size=1001), "page_size"),
    ],
)
async def test_list_journal_with_number_out_of_range_is_refused(
    ledger: Ledger, request_message: journal_pb2.ListJournalRequest, field: str
) -> None:
    """Reading has its bounds too."""
    request_message.tenant_id = ledger.tenant_id

    refused = await refusal(ledger.stubs.journal.ListJournal(request_message))

    assert refused.reason == "FIELD_OUT_OF_RANGE"
    assert refused.violated_fields == (field,)


async def test_read_tenant_of_other_makes_no_difference(server: Service, ledger: Ledger) -> None:
    """Ids of one tenant mean nothing in another one."""
    await ledger.open("ann")
    hold = await ledger.place_hold("house", "ann", 1)
    posted = await ledger.post("house", "ann", 1)
    other = await server.new_ledger("other")

    by_hold = await refusal(other.hold(hold.hold_id))
    by_transaction = await refusal(other.transaction(posted.transaction_id))
    by_account = await refusal(other.account("ann"))

    assert by_hold.reason == "HOLD_NOT_FOUND"
    assert by_transaction.reason == "TRANSACTION_NOT_FOUND"
    assert by_account.reason == "ACCOUNT_NOT_FOUND"
