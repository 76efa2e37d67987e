"""Owns how a survey of limits is brought up to date: by the records that were written since."""

from collections.abc import Iterator
from typing import Final

from defter.ledger.v1 import journal_pb2, posting_pb2

from ledger_server.domain.ids import TenantKey
from ledger_server.domain.ledger.accounts import stands_below
from ledger_server.domain.state.limit_survey import LimitSurvey
from ledger_server.store import lane_store
from ledger_server.store.database import AnyConnection
from ledger_server.store.queries import journal

RECORDS: Final = 1_000
"""How many records are looked at in one go."""

_ACCOUNTS: Final = 1_000
WITHOUT_ACCOUNTS: Final = frozenset(
    {
        "tenant_created",
        "balance_enforcement_set",
        "request_rejected",
        "deposit_changed",
        "withdrawal_changed",
        "provider_event_recorded",
        "withdrawal_policy_set",
        "finding_changed",
        "epoch_begun",
        "player_forgotten",
        "adjustment_changed",
        "adjustment_policy_set",
    }
)
"""Facts that change no account: what payments and adjustments move is told by records of its own."""


def changed_accounts(record: journal_pb2.JournalRecord) -> Iterator[str]:
    """Yield the ids of the accounts whose counters, limits or state a record changes; some repeatedly."""
    match record.WhichOneof("fact"):
        case "account_opened":
            yield record.account_opened.account_id
        case "transaction_posted":
            yield from _posted(record.transaction_posted)
        case "hold_captured":
            yield from _posted(record.hold_captured.transaction)
        case "account_continued":
            yield record.account_continued.account.account_id
            yield record.account_continued.successor.account_id
        case "account_limits_set" | "account_frozen" | "account_unfrozen" | "account_closed" as name:
            yield getattr(record, name).account.account_id
        case "hold_placed" | "hold_released" | "hold_extended" | "hold_increased" | "hold_expired" as name:
            hold = getattr(record, name).hold
            yield hold.debit_account_id
            yield hold.credit_account_id
        case name:
            assert name in WITHOUT_ACCOUNTS, name


async def caught_up(
    connection: AnyConnection, key: TenantKey, survey: LimitSurvey
) -> tuple[LimitSurvey, int]:
    """Return a survey that includes all that is committed, and how many records have come since the old one.

    Each account that a later record names is looked at again, so it does not matter whether the old survey
    saw it before or after that record.
    """
    through, below, count = survey.through, set(survey.below), 0
    while entries := await journal.entries_after(connection, key, through, limit=RECORDS):
        changed = {
            account_id
            for entry in entries
            for account_id in changed_accounts(journal_pb2.JournalRecord.FromString(entry.record))
        }
        count += len(entries)
        through = entries[-1].sequence
        wanted = sorted(changed)
        for start in range(0, len(wanted), _ACCOUNTS):
            part = wanted[start : start + _ACCOUNTS]
            for loaded in (await lane_store.load_accounts(connection, key, part)).values():
                number = loaded.account.number
                (below.add if stands_below(loaded.account, loaded.counters) else below.discard)(number)
    return LimitSurvey(through, tuple(sorted(below))), count


def _posted(transaction: posting_pb2.Transaction) -> Iterator[str]:
    for posting in transaction.postings:
        yield posting.account_id
