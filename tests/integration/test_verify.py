"""VerifyJournal finds whatever somebody with all rights has altered behind the ledger's back."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable

import asyncpg
import grpc
import pytest
from defter.ledger.v1 import journal_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from tests.support.cashier import CAPTURED, Cashier
from tests.support.clock import START, FakeClock
from tests.support.ledger import Ledger
from tests.support.requests import limits, timestamp
from tests.support.service import Service

HEAD = 16
OPEN_HOLD = 7
RELEASED_HOLD = 8
EXPIRED_HOLD = 13
# A row of `postings` that nothing accounts for: account, sequence, leg, version.
EXTRA_LINE = """
    INSERT INTO postings SELECT tenant_key, account_number, {sequence}, {leg}, 1, direction, 0, 0,
        posted_debits, posted_credits, pending_debits, pending_credits, {version}
    FROM postings WHERE account_number = 3 AND sequence = 6
"""
EXTRA_HOLD = """
    INSERT INTO holds SELECT tenant_key, 6, debit_account_number, credit_account_number, currency_code,
        amount, captured, released, state, expire_time, transaction_type, reference, metadata, place_time,
        end_time, limit_breached
    FROM holds WHERE hold_number = {number}
"""
EXTRA_ACCOUNT = """
    INSERT INTO accounts SELECT tenant_key, 6, 'eve', kind, currency_code, state, min_available,
        max_balance, open_time, metadata
    FROM accounts WHERE account_number = 3
"""


@pytest.fixture
async def busy(ledger: Ledger, clock: FakeClock) -> Ledger:
    """A ledger with a bit of everything; the comments are the records' sequences."""
    await ledger.open("ann")  # 3, behind the tenant and the house
    await ledger.open("bob")  # 4
    await ledger.fund("ann", 1000)  # 5
    moved = await ledger.post("ann", "bob", 300)  # 6
    await ledger.place_hold("ann", "bob", 100)  # 7
    released = await ledger.place_hold("ann", "bob", 50)  # 8
    await ledger.release(released.hold_id)  # 9
    await ledger.set_limits("bob", limits(minimum=0, maximum=5000))  # 10
    await ledger.reverse(moved.transaction_id)  # 11
    with pytest.raises(grpc.aio.AioRpcError):
        await ledger.post("ann", "bob", 10_000)  # 12
    await ledger.place_hold("ann", "bob", 10, expire_time=soon())  # 13
    clock.advance(seconds=10)
    await ledger.post("ann", "bob", 1)  # 14 expires the hold, 15 posts
    await ledger.freeze("bob")  # 16
    return ledger


def soon() -> Timestamp:
    """Return an instant that the fixture's clock passes."""
    return timestamp(START.replace(second=5))


async def tamper(database_url: str, statement: str) -> None:
    """Change what is stored as a superuser who has switched the triggers off."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(statement)
    finally:
        await connection.close()


async def test_verify_untouched_ledger_finds_no_difference(busy: Ledger) -> None:
    """Everything follows from the journal, and everything is counted."""
    result = await busy.verify()

    assert not result.HasField("first_difference"), result.first_difference
    assert result.sequence == HEAD
    assert result.chain_hash == (await busy.tenant()).head_chain_hash
    assert (result.account_count, result.hold_count) == (3, 3)
    assert result.posting_count == sum([len(await busy.statement(name)) for name in ("house", "ann", "bob")])


JOURNAL_TAMPERS = [
    (
        "UPDATE journal SET record = set_byte(record, 40, get_byte(record, 40) # 1) WHERE sequence = 6",
        (6, "chain_hash"),
    ),
    (
        (
            "UPDATE journal SET chain_hash = set_byte(chain_hash, 0, get_byte(chain_hash, 0) # 1)"
            " WHERE sequence = 16"
        ),
        (16, "chain_hash"),
    ),
    (
        (
            "UPDATE journal j SET chain_hash = o.chain_hash FROM journal o"
            " WHERE (j.sequence, o.sequence) IN ((8, 9), (9, 8))"
        ),
        (8, "chain_hash"),
    ),
    ("DELETE FROM journal WHERE sequence = 6", (6, "journal record")),
    ("DELETE FROM journal WHERE sequence = 16", (16, "journal record")),
    ("DELETE FROM journal", (1, "journal record")),
    ("UPDATE journal SET sequence = 17 WHERE sequence = 16", (16, "journal record")),
    (
        (
            "INSERT INTO journal SELECT tenant_key, 17, kind, method, 'forged', player_id, request_digest,"
            " transaction_type, reference, NULL, limit_breached, effective_time, record_time, closes_batch,"
            " record, chain_hash FROM journal WHERE sequence = 6"
        ),
        (17, "journal record"),
    ),
    ("UPDATE journal SET limit_breached = true WHERE sequence = 6", (6, "journal limit_breached")),
    ("UPDATE journal SET idempotency_key = 'other' WHERE sequence = 12", (12, "journal idempotency_key")),
    ("UPDATE journal SET request_digest = NULL WHERE sequence = 5", (5, "journal request_digest")),
    ("UPDATE journal SET reverses = NULL WHERE sequence = 11", (11, "journal reverses")),
    ("UPDATE journal SET effective_time = record_time WHERE sequence = 14", (14, "journal effective_time")),
    ("UPDATE journal SET closes_batch = false WHERE sequence = 16", (16, "journal closes_batch")),
]
POSTING_TAMPERS = [
    (
        "UPDATE postings SET posted_debits = posted_debits + 1 WHERE sequence = 6 AND leg = 0",
        (6, "posting ann leg 0 posted_debits"),
    ),
    ("UPDATE postings SET amount = 0 WHERE sequence = 15 AND leg = 1", (15, "posting bob leg 1 amount")),
    ("DELETE FROM postings WHERE sequence = 6 AND leg = 1", (6, "posting bob leg 1")),
    ("DELETE FROM postings WHERE sequence = 15", (15, "posting ann leg 0")),
    (EXTRA_LINE.format(sequence=6, leg=2, version=3), (6, "posting ann leg 2")),
    (EXTRA_LINE.format(sequence=10, leg=0, version=3), (10, "posting ann leg 0")),
    (EXTRA_LINE.format(sequence=2, leg=0, version=0), (2, "posting ann leg 0")),
    (EXTRA_LINE.format(sequence=16, leg=0, version=99), (16, "account ann posted_debits")),
    (
        "UPDATE postings SET account_number = 9 WHERE account_number = 4 AND sequence = 9",
        (9, "posting bob leg 1"),
    ),
]
ROW_TAMPERS = [
    ("UPDATE holds SET amount = 101 WHERE hold_number = 7", (7, "hold {open} amount")),
    ("UPDATE holds SET state = 3, end_time = place_time WHERE hold_number = 7", (7, "hold {open} state")),
    ("DELETE FROM holds WHERE hold_number = 7", (7, "hold {open}")),
    ("UPDATE holds SET released = 0 WHERE hold_number = 8", (9, "hold {released} released")),
    ("UPDATE holds SET state = 1, end_time = NULL WHERE hold_number = 8", (9, "hold {released} state")),
    (
        "UPDATE holds SET credit_account_number = 2 WHERE hold_number = 8",
        (9, "hold {released} credit_account_id"),
    ),
    ("DELETE FROM holds WHERE hold_number = 8", (9, "hold {released}")),
    ("UPDATE holds SET end_time = place_time WHERE hold_number = 13", (14, "hold {expired} end_time")),
    (EXTRA_HOLD.format(number=7), (6, "hold {extra}")),
    (EXTRA_HOLD.format(number=8), (6, "hold {extra}")),
    (
        "UPDATE accounts SET min_available = -100 WHERE account_number = 3",
        (3, "account ann limits.min_available"),
    ),
    (
        "UPDATE accounts SET max_balance = NULL WHERE account_number = 4",
        (16, "account bob limits.max_balance"),
    ),
    ("UPDATE accounts SET state = 1 WHERE account_number = 4", (16, "account bob state")),
    ("UPDATE accounts SET currency_code = 'USD' WHERE account_number = 2", (2, "account house currency")),
    (
        'UPDATE accounts SET metadata = \'{{"vip": "yes"}}\' WHERE account_number = 3',
        (3, "account ann metadata"),
    ),
    (EXTRA_ACCOUNT, (6, "account eve")),
    ("UPDATE tenants SET sequence = 15", (15, "tenant chain_hash")),
    ("UPDATE tenants SET sequence = 17", (17, "journal record")),
    ("UPDATE tenants SET chain_hash = '\\x00'", (16, "tenant chain_hash")),
    ("UPDATE tenants SET balance_enforcement = 1", (16, "tenant enforcement")),
    ("UPDATE tenants SET record_time = record_time - interval '1 second'", (16, "tenant record_time")),
]
# What no column of the ledger's own making holds, by table: the row that is altered, and how it is named.
UNREADABLE_CODES = ("0", "-1", "99")
UNREADABLE_TIMES = ("'0044-03-15 BC'", "'294000-01-01'", "'infinity'", "'-infinity'")
UNREADABLE_METADATA = ("'{{}}'", "'[]'", "'[[1]]'", "'1e5000'", "'{{\"a\": 1}}'", "'null'")
UNREADABLE_POLICIES = (
    "'{{}}'",
    "'[]'",
    "'1'",
    "'null'",
    "'{{\"player_may_cancel\": false}}'",
    '\'{{"player_may_cancel": false, "second_review_from": {{}}, "more": 1}}\'',
    '\'{{"player_may_cancel": 1, "second_review_from": {{}}}}\'',
    '\'{{"player_may_cancel": false, "second_review_from": {{"EUR": "1"}}}}\'',
)
UNREADABLE: list[tuple[str, str, tuple[str, ...], tuple[int, str]]] = [
    ("accounts WHERE account_number = 3", "kind", UNREADABLE_CODES, (3, "account ann kind")),
    ("accounts WHERE account_number = 4", "state", UNREADABLE_CODES, (16, "account bob state")),
    ("accounts WHERE account_number = 3", "open_time", UNREADABLE_TIMES, (3, "account ann open_time")),
    ("accounts WHERE account_number = 3", "metadata", UNREADABLE_METADATA, (3, "account ann metadata")),
    ("holds WHERE hold_number = 7", "state", UNREADABLE_CODES, (7, "hold {open} state")),
    ("holds WHERE hold_number = 8", "state", UNREADABLE_CODES, (9, "hold {released} state")),
    ("holds WHERE hold_number = 7", "transaction_type", UNREADABLE_CODES, (7, "hold {open} type")),
    ("holds WHERE hold_number = 8", "transaction_type", UNREADABLE_CODES, (9, "hold {released} type")),
    ("holds WHERE hold_number = 7", "place_time", UNREADABLE_TIMES, (7, "hold {open} place_time")),
    ("holds WHERE hold_number = 7", "expire_time", UNREADABLE_TIMES, (7, "hold {open} expire_time")),
    ("holds WHERE hold_number = 13", "expire_time", UNREADABLE_TIMES, (14, "hold {expired} expire_time")),
    ("holds WHERE hold_number = 13", "end_time", UNREADABLE_TIMES, (14, "hold {expired} end_time")),
    ("holds WHERE hold_number = 7", "metadata", UNREADABLE_METADATA, (7, "hold {open} metadata")),
    ("holds WHERE hold_number = 7", "reference", ("''",), (7, "hold {open} reference")),
    ("holds WHERE hold_number = 8", "reference", ("''",), (9, "hold {released} reference")),
    ("journal WHERE sequence = 6", "effective_time", UNREADABLE_TIMES, (6, "journal effective_time")),
    ("journal WHERE sequence = 6", "record_time", UNREADABLE_TIMES, (6, "journal record_time")),
    ("journal WHERE sequence = 6", "kind", UNREADABLE_CODES, (6, "journal kind")),
    ("tenants WHERE true", "record_time", UNREADABLE_TIMES, (16, "tenant record_time")),
    ("tenants WHERE true", "create_time", UNREADABLE_TIMES, (16, "tenant create_time")),
    ("tenants WHERE true", "balance_enforcement", UNREADABLE_CODES, (16, "tenant enforcement")),
    ("tenants WHERE true", "withdrawal_policy", UNREADABLE_POLICIES, (16, "tenant policy")),
    ("tenants WHERE true", "sequence", ("0", "-1"), (1, "tenant sequence")),
]
UNREADABLE_TAMPERS = [
    (f"UPDATE {row.split()[0]} SET {column} = {value} {row.partition(' ')[2]}", expected)
    for row, column, values, expected in UNREADABLE
    for value in values
]


@pytest.mark.parametrize(
    ("statement", "expected"), JOURNAL_TAMPERS + POSTING_TAMPERS + ROW_TAMPERS + UNREADABLE_TAMPERS
)
async def test_verify_altered_ledger_names_first_difference(
    busy: Ledger, database_url: str, statement: str, expected: tuple[int, str]
) -> None:
    """The first difference is named by the record at which it shows, and by what differs there."""
    prefix = (await busy.holds())[0].hold_id.removesuffix(str(OPEN_HOLD))
    holds = {"open": OPEN_HOLD, "released": RELEASED_HOLD, "expired": EXPIRED_HOLD, "extra": 6}
    sequence, subject = expected
    await tamper(database_url, statement.replace("{{", "{").replace("}}", "}"))

    difference = (await busy.verify()).first_difference

    assert difference.sequence == sequence
    assert difference.subject == subject.format(**{name: f"{prefix}{at}" for name, at in holds.items()})
    assert difference.expected != difference.actual


@pytest.mark.parametrize("time", UNREADABLE_TIMES)
@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("payments", "create_time"),
        ("payments", "update_time"),
        ("provider_events", "receive_time"),
        ("provider_events", "update_time"),
        ("reconciliation_findings", "open_time"),
    ],
)
async def test_verify_payments_with_unreadable_time_names_row_and_column(
    cashier: Cashier, database_url: str, table: str, column: str, time: str
) -> None:
    """A time that Python doesn't know is named with its row, as any other one is."""
    deposit = await cashier.captured(500)
    await cashier.ingest(cashier.event(CAPTURED, deposit.deposit_id, 5, currency_code="USD"))
    await tamper(database_url, f"UPDATE {table} SET {column} = {time}")

    difference = (await cashier.ledger.verify()).first_difference

    words = difference.subject.split()
    assert (words[0], words[-1]) == (table, column)
    assert difference.expected != difference.actual


async def test_verify_ledger_with_account_deleted_names_it(busy: Ledger, database_url: str) -> None:
    """A deleted account is missing at the record that last changed it."""
    await tamper(database_url, "DELETE FROM accounts WHERE account_number = 2")

    difference = (await busy.verify()).first_difference

    assert (difference.sequence, difference.subject) == (2, "account house")
    assert (difference.expected, difference.actual) == ("present", "absent")


async def test_verify_two_alterations_names_the_earlier_one(busy: Ledger, database_url: str) -> None:
    """However many there are, the first one is told."""
    await tamper(
        database_url,
        "UPDATE postings SET version = 0 WHERE sequence = 11;"
        "UPDATE postings SET amount = 7 WHERE sequence = 6 AND leg = 0;"
        "UPDATE holds SET amount = 99 WHERE hold_number = 8",
    )

    difference = (await busy.verify()).first_difference

    assert (difference.sequence, difference.subject) == (6, "posting ann leg 0 amount")
    assert (difference.expected, difference.actual) == ("300", "7")


Forgery = Callable[[journal_pb2.JournalRecord], object]


def _more_money(record: journal_pb2.JournalRecord) -> None:
    for posting in record.transaction_posted.postings:
        posting.amount_minor += 1


def _one_sided(record: journal_pb2.JournalRecord) -> None:
    record.transaction_posted.postings[0].amount_minor += 1


def _other_time(record: journal_pb2.JournalRecord) -> None:
    record.record_time.seconds -= 1


def _spend_what_is_not_there(record: journal_pb2.JournalRecord) -> None:
    for posting in record.transaction_posted.postings:
        posting.amount_minor = 5_000


@pytest.mark.parametrize(
    ("sequence", "forge", "subject", "expected"),
    [
        (5, _more_money, "record transaction_posted.postings[0].balance.posted_debits_minor", "1001"),
        (5, _one_sided, "record transaction_posted", "refused: debits do not equal credits"),
        (6, _spend_what_is_not_there, "record transaction_posted", "refused: the available balance"),
        (6, _other_time, "record record_time", "2030"),
        (9, lambda record: record.ClearField("hold_released"), "record None", "every record says something"),
        (
            11,
            lambda record: record.transaction_posted.ClearField("reverses_transaction_id"),
            "record transaction_posted",
            "a reversal names what it reverses",
        ),
        (12, lambda record: record.request.ClearField("method"), "record request.method", "a known method"),
        (
            14,
            lambda record: record.hold_expired.hold.ClearField("end_time"),
            "record hold_expired.hold.end_time",
            "present",
        ),
    ],
)
async def test_verify_journal_with_forged_chain_finds_broken_rule(
    busy: Ledger, database_url: str, sequence: int, forge: Forgery, subject: str, expected: str
) -> None:
    """Whoever recomputes the whole chain still has to keep to the rules."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("SET session_replication_role = replica")
        chain_hash = bytes(32)
        for row in await connection.fetch("SELECT sequence, record FROM journal ORDER BY sequence"):
            data = row["record"]
            if row["sequence"] == sequence:
                record = journal_pb2.JournalRecord.FromString(data)
                forge(record)
                data = record.SerializeToString(deterministic=True)
            chain_hash = hashlib.sha256(chain_hash + data).digest()
            await connection.execute(
                "UPDATE journal SET record = $2, chain_hash = $3 WHERE sequence = $1",
                row["sequence"],
                data,
                chain_hash,
            )
        await connection.execute("UPDATE tenants SET chain_hash = $1", chain_hash)
    finally:
        await connection.close()

    difference = (await busy.verify()).first_difference

    assert (difference.sequence, difference.subject) == (sequence, subject)
    assert difference.expected.startswith(expected)


async def test_verify_other_tenant_is_not_disturbed(busy: Ledger, server: Service, database_url: str) -> None:
    """What was altered in one tenant is no difference of another."""
    other = await server.new_ledger("other")
    await other.open_house()
    await tamper(database_url, "UPDATE holds SET amount = 101 WHERE hold_number = 7")

    verdicts: list[Awaitable[journal_pb2.VerifyResult]] = [busy.verify(), other.verify()]
    altered, untouched = [await verdict for verdict in verdicts]

    assert altered.HasField("first_difference")
    assert not untouched.HasField("first_difference")
