"""Owns the reading of a journal for its pages: records, the newest first, and where a time lies among them.

The ledger lists records by sequence and by nothing else. So kinds are picked here, from a bounded number of
records, and a time is looked for by halving: a record is never of an earlier time than the one before it.
"""

import hashlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from console.formats import moment_of
from console.words import FACTS
from defter_client import messages as m

MOST_LOOKED_AT: Final = 2_000
"""Records that one page looks through for those of a kind."""
_MOST_CALLS: Final = 12
"""A page of the ledger may be short, since its bytes have a bound."""
_CHUNK: Final = 500
NOTHING_BEFORE: Final = bytes(32)
"""What stands in front of record 1 in place of a hash."""
GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "accounts": tuple(name for name in FACTS if name.startswith("account_")),
    "money": ("transaction_posted", "hold_captured"),
    "holds": tuple(name for name in FACTS if name.startswith("hold_")),
    "payments": ("deposit_changed", "withdrawal_changed", "provider_event_recorded"),
    "findings": ("finding_changed",),
    "settings": (
        "tenant_created",
        "balance_enforcement_set",
        "withdrawal_policy_set",
        "adjustment_policy_set",
        "epoch_begun",
    ),
}
"""Kinds that are looked for together."""

Read = Callable[[int, int], Awaitable[Sequence[m.JournalEntry]]]
"""Returns entries behind a sequence, at most so many, and one or more if there is one."""


@dataclass(frozen=True, slots=True)
class Line:
    """A record as a list shows it.

    Attributes:
        record: None: the bytes are no record.
        subject_field: the name of the field that has the subject's id; empty for none.
    """

    sequence: int
    record: m.JournalRecord | None
    fact: str
    subject_field: str
    subject: str
    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class Window:
    """Records, the newest first.

    Attributes:
        begin: the lowest sequence that was looked at; what is older lies before it.
        looked_at: how many records.
    """

    lines: tuple[Line, ...]
    begin: int
    looked_at: int


def kinds_of(kind: str) -> Collection[str]:
    """Return the facts that a filter means; empty for all."""
    return GROUPS.get(kind) or ((kind,) if kind in FACTS else ())


def line_of(entry: m.JournalEntry) -> Line:
    """Return what a list shows of an entry that was read as bytes."""
    record = m.JournalRecord()
    try:
        record.ParseFromString(entry.record_bytes)
    except DecodeError:
        return Line(entry.sequence, None, "", "", "", 0, "")
    fact = record.WhichOneof("fact") or ""
    if not fact:
        return Line(entry.sequence, record, "", "", "", 0, "")
    told: Message = getattr(record, fact)
    field, subject = _subject(told)
    amount, currency = _amount(told)
    return Line(entry.sequence, record, fact, field, subject, amount, currency)


def _subject(message: Message, depth: int = 0) -> tuple[str, str]:
    """Return the first id in a message, in the order of the contract, and the field that has it."""
    for field, value in message.ListFields():
        if field.is_repeated or field.name == "tenant_id":
            continue
        if field.type == FieldDescriptor.TYPE_STRING and field.name.endswith(("_id", "reason")):
            return field.name, str(value)
        if field.message_type is not None and depth < 1:
            found = _subject(value, depth + 1)
            if found[1]:
                return found
    return "", ""


def _amount(message: Message) -> tuple[int, str]:
    """Return the amount of a fact with its currency; of a transaction that of its first leg."""
    one: Any
    for one in (message, getattr(message, "hold", None), getattr(message, "transaction", None)):
        if one is None:
            continue
        postings = getattr(one, "postings", ())
        told = postings[0] if postings else one
        if getattr(told, "amount_minor", 0) and getattr(told, "currency_code", ""):
            return told.amount_minor, told.currency_code
    return 0, ""


async def window(read: Read, before: int, size: int, kinds: Collection[str]) -> Window:
    """Return records before a sequence, the newest first: so many, or those of their kinds that were found.

    Without kinds as many are looked at as are shown; with them, up to `MOST_LOOKED_AT`.
    """
    found: list[Line] = []
    end, chunk = max(before, 1), _CHUNK if kinds else size
    lowest = max(1, end - (MOST_LOOKED_AT if kinds else size))
    for _ in range(_MOST_CALLS):
        if end <= lowest or len(found) >= size:
            break
        begin = max(lowest, end - chunk)
        entries = [each for each in await read(begin - 1, end - begin) if each.sequence < end]
        if entries and entries[-1].sequence < end - 1:
            # A page is cut behind its oldest records, and it is the newest that come first here.
            chunk = len(entries)
            continue
        found += _picked(entries, kinds)
        end = begin
    if end == before and end > 1:
        found += _picked(await read(end - 2, 1), kinds)
        end -= 1
    if len(found) > size:
        found, end = found[:size], found[size - 1].sequence
    return Window(tuple(found), end, before - end)


def _picked(entries: Sequence[m.JournalEntry], kinds: Collection[str]) -> list[Line]:
    return [line for line in map(line_of, reversed(entries)) if not kinds or line.fact in kinds]


async def first_after(read: Read, head: int, moment: datetime) -> int:
    """Return the first sequence of a record that is later than a moment; one behind the head for none.

    It takes some twenty reads of one record each for a journal of a million.
    """
    low, high = 1, head + 1
    while low < high:
        middle = (low + high) // 2
        entries = await read(middle - 1, 1)
        record = line_of(entries[0]).record if entries else None
        at = None if record is None else moment_of(record.record_time)
        if at is None or at > moment:
            high = middle
        else:
            low = middle + 1
    return low


def follows(before: bytes, entry: m.JournalEntry) -> bool:
    """Whether an entry's hash follows from the one before it and its own bytes."""
    return hashlib.sha256(before + entry.record_bytes).digest() == entry.chain_hash
