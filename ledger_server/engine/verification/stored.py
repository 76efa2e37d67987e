"""Owns the comparison of changeable rows with the state that follows from the whole journal."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Final, TypeVar

from defter.ledger.v1 import journal_pb2

from ledger_server.domain.decisions.replay import AccountReplayed
from ledger_server.domain.ids import TenantKey
from ledger_server.domain.ledger.accounts import Account
from ledger_server.engine.records.journal import transaction_of
from ledger_server.engine.verification.differences import (
    ABSENT,
    PRESENT,
    Different,
    fields_that_differ,
    first_of,
)
from ledger_server.engine.verification.journal import JournalCheck, hold_difference
from ledger_server.engine.verification.rows import check_rows
from ledger_server.store.database import AnyConnection
from ledger_server.store.queries import verification
from ledger_server.store.queries.verification import StoredAccount

_BREATH: Final = 256
_Row = TypeVar("_Row")


async def check_stored(connection: AnyConnection, key: TenantKey, check: JournalCheck) -> None:
    """Compare accounts, open holds and all row counts, in one snapshot.

    Raises:
        Different: the difference that goes back to the lowest sequence.
    """
    first = first_of(
        [
            *await _outside(connection, key, check),
            *await _accounts(connection, key, check),
            *await _extra_lines(connection, key, check),
            *await _holds(connection, key, check),
            *await check_rows(connection, key, check),
        ]
    )
    if first is not None:
        raise first


async def _outside(connection: AnyConnection, key: TenantKey, check: JournalCheck) -> list[Different]:
    """Look for records outside the journal's bounds."""
    outside = await verification.sequences_outside(connection, key, check.sequence)
    return [
        Different(sequence, "journal record", ABSENT, PRESENT) for sequence in outside if sequence is not None
    ]


async def _accounts(connection: AnyConnection, key: TenantKey, check: JournalCheck) -> list[Different]:
    """Compare the accounts of the replay and of the store side by side, both in the order of opening."""
    found: list[Different] = []
    expected = check.replay.accounts()
    awaited = next(expected, None)
    async for stored in _slowly(verification.stored_accounts(connection, key)):
        number = stored.account.number
        while awaited is not None and awaited.account.number < number:
            found.append(_account_presence(awaited.account, awaited.changed_by, PRESENT, ABSENT))
            awaited = next(expected, None)
        if awaited is None or awaited.account.number != number:
            found.append(_account_presence(stored.account, number, ABSENT, PRESENT))
            continue
        check.account_count += 1
        found += _account_differences(awaited, stored)
        awaited = next(expected, None)
    while awaited is not None:
        found.append(_account_presence(awaited.account, awaited.changed_by, PRESENT, ABSENT))
        awaited = next(expected, None)
    return found


def _account_presence(account: Account, sequence: int, expected: str, actual: str) -> Different:
    return Different(sequence, f"account {account.account_id}", expected, actual)


def _account_differences(expected: AccountReplayed, stored: StoredAccount) -> Iterator[Different]:
    subject = f"account {expected.account.account_id}"
    if stored.account != expected.account:
        path, ours, theirs = fields_that_differ(expected.account, stored.account)
        yield Different(expected.changed_by, f"{subject} {path}", ours, theirs)
    if stored.counters != expected.counters:
        path, ours, theirs = fields_that_differ(expected.counters, stored.counters)
        yield Different(stored.newest_line or expected.account.number, f"{subject} {path}", ours, theirs)


async def _extra_lines(connection: AnyConnection, key: TenantKey, check: JournalCheck) -> list[Different]:
    """Find statement lines that no record accounts for; the others have been compared already."""
    expected: dict[int, tuple[str, int]] = {
        replayed.account.number: (replayed.account.account_id, replayed.counters.version)
        for replayed in check.replay.accounts()
    }
    found: list[Different] = []
    surplus: list[int] = []
    async for lines in _slowly(verification.line_counts(connection, key)):
        number = lines.account_number
        if number not in expected:
            subject = f"posting of account number {number}"
            found.append(Different(lines.first_sequence, subject, ABSENT, PRESENT))
        elif lines.line_count > expected[number][1]:
            surplus.append(number)
    for number in surplus:
        name, _ = expected[number]
        async for sequence, leg, record in verification.lines_with_records(connection, key, number):
            if record is None or not _writes(record, leg, name):
                found.append(Different(sequence, f"posting {name} leg {leg}", ABSENT, PRESENT))
                break
    return found


def _writes(data: bytes, leg: int, account_id: str) -> bool:
    """Return whether a record writes this leg of this account."""
    record = journal_pb2.JournalRecord.FromString(data)
    transaction = transaction_of(record)
    if transaction is not None:
        accounts = [posting.account_id for posting in transaction.postings]
    else:
        changed = getattr(record, record.WhichOneof("fact") or "", None)
        if not isinstance(changed, journal_pb2.HoldChanged) or not changed.HasField("debit_balance"):
            return False
        accounts = [changed.hold.debit_account_id, changed.hold.credit_account_id]
    return 0 <= leg < len(accounts) and accounts[leg] == account_id


async def _holds(connection: AnyConnection, key: TenantKey, check: JournalCheck) -> list[Different]:
    expected = check.replay.open_holds()
    seen: set[int] = set()
    found: list[Different] = []
    async for hold in _slowly(verification.open_holds(connection, key)):
        # A hold that is stored as open but has ended was found at the record that ended it.
        ours = expected.get(hold.number)
        if ours is None:
            continue
        seen.add(hold.number)
        if ours != hold:
            found.append(hold_difference(check.ids, check.replay.changed_by(hold.number), ours, hold))
    missing = [number for number in expected if number not in seen]
    if missing:
        stored = await verification.numbered_holds(connection, key, missing)
        found += [
            hold_difference(check.ids, check.replay.changed_by(number), expected[number], stored.get(number))
            for number in missing
        ]
    check.hold_count += len(expected)
    if await verification.hold_count(connection, key) > check.replay.hold_count:
        number = await verification.hold_never_placed(connection, key)
        if number is not None:
            found.append(Different(number, f"hold {check.ids.hold_id(number)}", ABSENT, PRESENT))
    return found


async def _slowly(rows: AsyncIterator[_Row]) -> AsyncIterator[_Row]:
    """Yield rows with pauses for other work: buffered rows would come without any pause."""
    count = 0
    async for row in rows:
        yield row
        count += 1
        if count % _BREATH == 0:
            await asyncio.sleep(0)
