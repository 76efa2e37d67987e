"""Own the check that a ledger is coherent: by what it says over gRPC, and by its tables."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

import asyncpg
from defter.ledger.v1 import account_pb2, adjustment_pb2, hold_pb2, journal_pb2, posting_pb2

from tests.support.ledger import Ledger
from tests.support.requests import CREDIT, DEBIT

GENESIS = bytes(32)
DEBIT_GROWS = (account_pb2.ACCOUNT_KIND_ASSET, account_pb2.ACCOUNT_KIND_EXPENSE)
HOLD_FACTS = {
    "hold_placed",
    "hold_captured",
    "hold_released",
    "hold_extended",
    "hold_increased",
    "hold_expired",
}
# Records that the ledger makes without a request, and those that a payment's command makes beside its answer.
UNASKED_FACTS = {"hold_expired", "epoch_begun"}
PAYMENT_FACTS = {"deposit_changed", "withdrawal_changed", "provider_event_recorded", "finding_changed"}
FACTS_OF_PAYMENTS = {"account_opened", "hold_placed", "hold_captured", "hold_released", "transaction_posted"}
# (posted debits, posted credits, pending debits, pending credits)
Counters = tuple[int, int, int, int]


# A statement line whose counters are not the sums of the account's lines up to it.
WRONG_LINES = """
    SELECT account_number, sequence, leg FROM (
        SELECT *, row_number() OVER lines AS position,
            coalesce(sum(amount) FILTER (WHERE direction = 1) OVER lines, 0) AS debits,
            coalesce(sum(amount) FILTER (WHERE direction = 2) OVER lines, 0) AS credits,
            coalesce(sum(pending_change) FILTER (WHERE direction = 1) OVER lines, 0) AS held_debits,
            coalesce(sum(pending_change) FILTER (WHERE direction = 2) OVER lines, 0) AS held_credits
        FROM postings WHERE tenant_key = $1
        WINDOW lines AS (PARTITION BY account_number ORDER BY sequence, leg)
    ) AS summed
    WHERE (posted_debits, posted_credits, pending_debits, pending_credits, version)
        IS DISTINCT FROM (debits, credits, held_debits, held_credits, position)
"""
# The pending money of each account's newest line, against the account's open holds.
WRONG_PENDING = """
    WITH newest AS (
        SELECT DISTINCT ON (account_number) account_number, pending_debits, pending_credits
        FROM postings WHERE tenant_key = $1 ORDER BY account_number, sequence DESC, leg DESC
    ), open_holds AS (
        SELECT debit_account_number, credit_account_number, amount - captured - released AS held
        FROM holds WHERE tenant_key = $1 AND state = 1
    )
    SELECT account_number FROM newest WHERE (pending_debits, pending_credits) IS DISTINCT FROM (
        (SELECT coalesce(sum(held), 0) FROM open_holds WHERE debit_account_number = account_number),
        (SELECT coalesce(sum(held), 0) FROM open_holds WHERE credit_account_number = account_number)
    )
"""
UNEVEN_CURRENCIES = """
    SELECT currency_code FROM postings JOIN accounts USING (tenant_key, account_number)
    WHERE tenant_key = $1 GROUP BY currency_code
    HAVING sum(amount) FILTER (WHERE direction = 1) <> sum(amount) FILTER (WHERE direction = 2)
"""


async def assert_tables_coherent(database_url: str, tenant_id: str) -> None:
    """Check the stored rows themselves, without any code of the server."""
    connection = await asyncpg.connect(database_url)
    try:
        # One snapshot: work of the server itself, such as a sweep, is visible to all statements or to none.
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await assert_rows_coherent(connection, tenant_id)
    finally:
        await connection.close()


async def assert_rows_coherent(connection: asyncpg.Connection, tenant_id: str) -> None:
    """Check the rows that one snapshot shows."""
    head = await connection.fetchrow("SELECT * FROM tenants WHERE tenant_id = $1", tenant_id)
    assert head is not None
    key = head["tenant_key"]
    rows = await connection.fetch(
        "SELECT sequence, record, chain_hash FROM journal WHERE tenant_key = $1 ORDER BY sequence", key
    )
    chain_hash = GENESIS
    for sequence, row in enumerate(rows, 1):
        chain_hash = hashlib.sha256(chain_hash + row["record"]).digest()
        assert (row["sequence"], row["chain_hash"]) == (sequence, chain_hash)
    assert (head["sequence"], head["chain_hash"]) == (len(rows), chain_hash)
    for statement in (WRONG_LINES, WRONG_PENDING, UNEVEN_CURRENCIES):
        assert await connection.fetch(statement, key) == []


async def assert_ledger_coherent(ledger: Ledger) -> None:
    """Check every promise that one tenant's journal, statements and balances make to each other.

    The ledger must be quiet: no request may come meanwhile. Work of the server itself, such as sweeping
    expired holds, is waited for.
    """
    head = -1
    while True:
        entries = await ledger.entries()
        accounts = await ledger.accounts()
        holds = await ledger.holds()
        statements = [await ledger.statement(listed.account.account_id) for listed in accounts]
        trial_balances = await ledger.trial_balances()
        verdict = await ledger.verify()
        # Read last, since records that are written meanwhile are in some of the answers and not in others.
        tenant = await ledger.tenant()
        if tenant.head_sequence in (len(entries), head):
            break
        head = tenant.head_sequence
    records = [entry.record for entry in entries]

    head_chain_hash = assert_chain_unbroken(entries)
    assert tenant.head_sequence == len(entries), "the tenant's head is its newest record"
    assert tenant.head_chain_hash == head_chain_hash, "the tenant's head carries the newest hash"
    assert_every_key_decided_once(records)
    dead = assert_holds_follow_from_journal(records, holds)
    assert_counters_follow_from_journal(records, holds, accounts)

    for listed, lines in zip(accounts, statements, strict=True):
        assert_statement_adds_up(listed, lines, dead)
    assert_trial_balance_even(trial_balances, accounts)

    assert not verdict.HasField("first_difference"), verdict.first_difference
    assert verdict.sequence == len(entries)
    assert verdict.chain_hash == head_chain_hash
    assert verdict.account_count == len(accounts)
    assert verdict.hold_count == len(holds)
    assert verdict.posting_count == sum(len(lines) for lines in statements)


def assert_chain_unbroken(
    entries: Sequence[journal_pb2.JournalEntry], *, after: bytes = GENESIS, first: int = 1
) -> bytes:
    """Recompute the chain over the records' bytes and return the last hash."""
    chain_hash = after
    for sequence, entry in enumerate(entries, first):
        assert entry.sequence == sequence, "the journal has no gap and no twin"
        chain_hash = hashlib.sha256(chain_hash + entry.record_bytes).digest()
        assert entry.chain_hash == chain_hash, f"record {sequence} is chained to the one before"
        decoded = journal_pb2.JournalRecord.FromString(entry.record_bytes)
        assert decoded.sequence == sequence
        assert not entry.HasField("record") or entry.record == decoded
    return chain_hash


def assert_every_key_decided_once(records: Sequence[journal_pb2.JournalRecord]) -> None:
    """No key of any method has two outcomes, and time never runs backwards."""
    keys = Counter(
        (record.request.method, record.request.idempotency_key, record.request.player_id)
        for record in records
        if record.HasField("request")
    )
    assert [key for key, count in keys.items() if count > 1] == []
    times = [record.record_time.ToNanoseconds() for record in records]
    assert times == sorted(times)
    facts = {record.WhichOneof("fact") for record in records}
    allowed = UNASKED_FACTS | (PAYMENT_FACTS | FACTS_OF_PAYMENTS if facts & PAYMENT_FACTS else set())
    if "adjustment_changed" in facts:
        allowed = allowed | {"transaction_posted"}
    unasked = [
        record
        for record in records
        # The money of a continued account follows by itself.
        if not record.HasField("request")
        and record.transaction_posted.type != account_pb2.TRANSACTION_TYPE_CONTINUATION
    ]
    assert {record.WhichOneof("fact") for record in unasked} <= allowed
    for record in unasked:
        if record.WhichOneof("fact") in HOLD_FACTS - UNASKED_FACTS:
            assert "defter_payment_id" in hold_of(record).metadata
        if record.HasField("transaction_posted"):
            posted = record.transaction_posted
            assert posted.adjustment_id or posted.reference.startswith(("dep_", "wd_"))
    assert_adjustments_follow_from_journal(records)


def assert_adjustments_follow_from_journal(records: Sequence[journal_pb2.JournalRecord]) -> None:
    """Every adjustment ends once, is posted right behind its transaction, and by as many as it takes."""
    amounts: dict[str, int] = {}
    newest: dict[str, adjustment_pb2.Adjustment] = {}
    awaited = ""
    for before, record in zip([None, *records], records, strict=False):
        if record.HasField("adjustment_policy_set"):
            amounts = dict(record.adjustment_policy_set.second_review_from_minor)
        if awaited:
            assert record.adjustment_changed.adjustment_id == awaited
        awaited = record.transaction_posted.adjustment_id
        if not record.HasField("adjustment_changed"):
            continue
        changed = record.adjustment_changed
        known = newest.get(changed.adjustment_id)
        newest[changed.adjustment_id] = changed
        assert known is None or known.state == adjustment_pb2.ADJUSTMENT_STATE_REQUESTED, "it ends once"
        assert known is None or list(known.postings) == list(changed.postings)
        posted = changed.state == adjustment_pb2.ADJUSTMENT_STATE_POSTED
        assert posted == bool(changed.transaction_id)
        if not posted:
            continue
        assert before is not None
        assert before.transaction_posted.adjustment_id == changed.adjustment_id
        assert before.transaction_posted.transaction_id == changed.transaction_id
        legs = [
            (leg.account_id, leg.direction, leg.amount_minor, leg.currency_code)
            for leg in before.transaction_posted.postings
        ]
        assert legs == [
            (leg.account_id, leg.direction, leg.amount_minor, leg.currency_code) for leg in changed.postings
        ]
        moved: Counter[str] = Counter()
        for leg in changed.postings:
            moved[leg.currency_code] += leg.amount_minor if leg.direction == DEBIT else 0
        people = {changed.requester, *(each.reviewer for each in changed.approvals)}
        if known is not None or any(total >= amounts.get(code, 0) for code, total in moved.items()):
            assert len(people) >= 2, "two people stand behind it"
        else:
            assert people == {changed.requester}


def assert_holds_follow_from_journal(
    records: Sequence[journal_pb2.JournalRecord], holds: Sequence[hold_pb2.Hold]
) -> list[hold_pb2.Hold]:
    """Every hold is as its newest record left it, or has expired since; and it ended at most once.

    Returns the due holds whose end is not recorded, as the journal still has them.
    """
    dead: list[hold_pb2.Hold] = []
    newest: dict[str, hold_pb2.Hold] = {}
    for record in records:
        if record.WhichOneof("fact") not in HOLD_FACTS:
            continue
        hold = hold_of(record)
        before = newest.get(hold.hold_id)
        assert (before is None) == record.HasField("hold_placed")
        assert before is None or before.state == hold_pb2.HOLD_STATE_OPEN, "a hold ends once"
        newest[hold.hold_id] = hold
    assert [hold.hold_id for hold in holds] == list(newest), "in the order of placing, none lost"
    for hold in holds:
        recorded = newest[hold.hold_id]
        assert hold.remaining_minor == hold.amount_minor - hold.captured_minor - hold.released_minor
        assert (hold.remaining_minor > 0) == (hold.state == hold_pb2.HOLD_STATE_OPEN)
        if hold != recorded:
            assert recorded.state == hold_pb2.HOLD_STATE_OPEN
            assert hold.state == hold_pb2.HOLD_STATE_EXPIRED
            assert hold.end_time == recorded.expire_time
            dead.append(recorded)
    return dead


def assert_counters_follow_from_journal(
    records: Sequence[journal_pb2.JournalRecord],
    holds: Sequence[hold_pb2.Hold],
    accounts: Sequence[account_pb2.ListAccountsResponse.Item],
) -> None:
    """Every account's counters are the sums of all postings and of all open holds."""
    posted: Counter[tuple[str, int]] = Counter()
    for transaction in transactions_of(records):
        sums: Counter[tuple[str, int]] = Counter()
        for posting in transaction.postings:
            posted[posting.account_id, posting.direction] += posting.amount_minor
            sums[posting.currency_code, posting.direction] += posting.amount_minor
        for currency_code in {currency_code for currency_code, _ in sums}:
            assert sums[currency_code, DEBIT] == sums[currency_code, CREDIT]
    pending = pending_of(hold for hold in holds if hold.state == hold_pb2.HOLD_STATE_OPEN)
    for listed in accounts:
        name = listed.account.account_id
        expected = (
            posted[name, DEBIT],
            posted[name, CREDIT],
            pending[name, DEBIT],
            pending[name, CREDIT],
        )
        assert counters_of(listed.balance) == expected, name
        assert_balances_follow_from_counters(listed.account.kind, listed.balance)
    known = {listed.account.account_id for listed in accounts}
    assert {name for name, _ in posted} | {name for name, _ in pending} <= known


def assert_statement_adds_up(
    listed: account_pb2.ListAccountsResponse.Item,
    lines: Sequence[account_pb2.StatementLine],
    dead: Sequence[hold_pb2.Hold],
) -> None:
    """Each line's balance is the one before plus the line; the last one is the account's balance.

    A due hold whose end is not recorded yet is still in the statement, but not in the balance.
    """
    name = listed.account.account_id
    running = [0, 0, 0, 0]
    places = []
    for version, line in enumerate(lines, 1):
        side = 0 if line.direction == DEBIT else 1
        running[side] += line.amount_minor
        running[2 + side] += line.pending_change_minor
        assert counters_of(line.balance) == tuple(running), f"{name} line {version}"
        assert line.balance.version == version, f"{name} line {version}"
        assert_balances_follow_from_counters(listed.account.kind, line.balance)
        assert (line.amount_minor > 0) == bool(line.transaction_id), f"{name} line {version}"
        places.append((line.sequence, line.leg))
    assert places == sorted(set(places)), name
    assert listed.balance.version == len(lines), name
    unrecorded = pending_of(dead)
    running[2] -= unrecorded[name, DEBIT]
    running[3] -= unrecorded[name, CREDIT]
    assert counters_of(listed.balance) == tuple(running), name


def assert_trial_balance_even(
    trial_balances: Sequence[journal_pb2.TrialBalance],
    accounts: Sequence[account_pb2.ListAccountsResponse.Item],
) -> None:
    """Per currency the debits equal the credits, and both are the sums of all accounts."""
    by_currency: dict[str, list[account_pb2.ListAccountsResponse.Item]] = defaultdict(list)
    for listed in accounts:
        by_currency[listed.account.currency_code].append(listed)
    assert [one.currency_code for one in trial_balances] == sorted(by_currency)
    for trial in trial_balances:
        members = by_currency[trial.currency_code]
        debits = sum(member.balance.posted_debits_minor for member in members)
        credit_sum = sum(member.balance.posted_credits_minor for member in members)
        assert debits == credit_sum, trial.currency_code
        assert int(trial.posted_debits_minor) == debits
        assert int(trial.posted_credits_minor) == credit_sum
        assert sum(int(line.posted_debits_minor) for line in trial.lines) == debits
        assert sum(int(line.posted_credits_minor) for line in trial.lines) == credit_sum
        kinds = Counter(member.account.kind for member in members)
        assert {line.kind: line.account_count for line in trial.lines} == dict(kinds)


def assert_balances_follow_from_counters(
    kind: account_pb2.AccountKind.ValueType, balance: account_pb2.AccountBalance
) -> None:
    """The two balances are what the counters and the kind say, and no counter is negative."""
    assert min(counters_of(balance)) >= 0
    grown = balance.posted_debits_minor - balance.posted_credits_minor
    pending_out = balance.pending_credits_minor
    if kind not in DEBIT_GROWS:
        grown, pending_out = -grown, balance.pending_debits_minor
    assert balance.posted_balance_minor == grown
    assert balance.available_balance_minor == grown - pending_out


def counters_of(balance: account_pb2.AccountBalance) -> Counters:
    """Return the four counters of a balance."""
    return (
        balance.posted_debits_minor,
        balance.posted_credits_minor,
        balance.pending_debits_minor,
        balance.pending_credits_minor,
    )


def transactions_of(
    records: Iterable[journal_pb2.JournalRecord],
) -> Iterator[posting_pb2.Transaction]:
    """Yield every transaction of the journal, captures included."""
    for record in records:
        if record.HasField("transaction_posted"):
            yield record.transaction_posted
        if record.HasField("hold_captured"):
            yield record.hold_captured.transaction


def hold_of(record: journal_pb2.JournalRecord) -> hold_pb2.Hold:
    """Return the hold that a record is about."""
    fact = record.WhichOneof("fact")
    assert fact in HOLD_FACTS
    changed = getattr(record, fact)
    assert isinstance(changed, journal_pb2.HoldChanged | journal_pb2.HoldCaptured)
    return changed.hold


def pending_of(holds: Iterable[hold_pb2.Hold]) -> Counter[tuple[str, int]]:
    """Return what these holds keep pending, by account and direction."""
    pending: Counter[tuple[str, int]] = Counter()
    for hold in holds:
        pending[hold.debit_account_id, DEBIT] += hold.remaining_minor
        pending[hold.credit_account_id, CREDIT] += hold.remaining_minor
    return pending
