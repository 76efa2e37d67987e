"""Owns what an import of opening balances reads: wallets, and what was posted for players before."""

from collections.abc import Sequence
from typing import Final

from defter.ledger.v1 import account_pb2, journal_pb2

from ledger_server.domain.decisions.openings import (
    NOTHING_POSTED,
    OpeningLine,
    PostedOpening,
    Wallet,
    outcome_key,
    wallets_of,
)
from ledger_server.domain.ids import TenantKey
from ledger_server.engine.reads.ledger import Reads
from ledger_server.engine.records.journal import transaction_of
from ledger_server.store import lane_store
from ledger_server.store.database import AnyConnection
from ledger_server.store.queries import openings
from ledger_server.store.queries.openings import OpeningOutcome

_CREDIT: Final = account_pb2.DIRECTION_CREDIT


class KnownOpenings:
    """What the ledger knows of some lines, at one moment.

    Attributes:
        wallets: those that exist, with all that continue them.
        posted: by a line's place among those that were asked about; lines of which nothing was decided are
            left out.
        sequence: the newest record that this rests on.
    """

    __slots__ = ("posted", "sequence", "wallets")

    def __init__(self, wallets: dict[str, Wallet], posted: dict[int, PostedOpening], sequence: int) -> None:
        self.wallets = wallets
        self.posted = posted
        self.sequence = sequence


class OpeningReads:
    """Reads for imports of all tenants."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def known(self, key: TenantKey, lines: Sequence[OpeningLine]) -> KnownOpenings:
        """Read what lines are about, as it stands now."""

        async def read(
            connection: AnyConnection,
        ) -> tuple[dict[str, Wallet], dict[int, PostedOpening]]:
            asked = [wallets_of(line) for line in lines]
            wallets = await _wallets(connection, key, [real for real, _ in asked])
            # Nothing was ever posted for a player whose wallet is missing (`step_of`).
            known = [place for place, (real, _) in enumerate(asked) if real in wallets]
            posted = await _posted(connection, key, {place: lines[place] for place in known})
            bonus = [asked[place][1] for place, line in enumerate(lines) if line.bonus or place in posted]
            return wallets | await _wallets(connection, key, bonus), posted

        found, sequence = await self._reads.run_at(read, key)
        return KnownOpenings(*found, sequence)

    async def wallets(self, key: TenantKey, account_ids: Sequence[str]) -> dict[str, Wallet]:
        """Return those of the accounts that exist, with all that continue them."""
        found, _ = await self._reads.run_at(lambda connection: _wallets(connection, key, account_ids), key)
        return found


async def _wallets(
    connection: AnyConnection, key: TenantKey, account_ids: Sequence[str]
) -> dict[str, Wallet]:
    wallets: dict[str, Wallet] = {}
    wanted = list(account_ids)
    while wanted:
        loaded = await lane_store.load_accounts(connection, key, wanted)
        wallets |= {name: Wallet(each.account, each.counters) for name, each in loaded.items()}
        wanted = [
            each.account.continued_by
            for each in loaded.values()
            if each.account.continued_by and each.account.continued_by not in wallets
        ]
    return wallets


async def _posted(
    connection: AnyConnection, key: TenantKey, lines: dict[int, OpeningLine]
) -> dict[int, PostedOpening]:
    """Return what was posted for lines, by their place."""
    posted: dict[int, PostedOpening] = {}
    number = 0
    places = list(lines)
    while places:
        keys = [outcome_key(lines[each].player_id, lines[each].currency, number) for each in places]
        found = await openings.outcomes(connection, key, keys)
        for index, outcome in found.items():
            place = places[index]
            posted[place] = with_outcome(posted.get(place, NOTHING_POSTED), lines[place], outcome)
        places = [places[index] for index in sorted(found)]
        number += 1
    return posted


def with_outcome(posted: PostedOpening, line: OpeningLine, outcome: OpeningOutcome) -> PostedOpening:
    """Return what was posted, with one outcome more."""
    transaction = transaction_of(journal_pb2.JournalRecord.FromString(outcome.record))
    if transaction is None:  # it was refused
        return PostedOpening(posted.outcomes + 1, posted.real, posted.bonus, posted.owner, posted.imports)
    real, bonus, owner = posted.real, posted.bonus, posted.owner
    if not outcome.is_reversed:
        owner = transaction.reference
        wallet, other = wallets_of(line)
        for posting in transaction.postings:
            change = posting.amount_minor if posting.direction == _CREDIT else -posting.amount_minor
            if _is_of(posting.account_id, wallet):
                real += change
            elif _is_of(posting.account_id, other):
                bonus += change
    return PostedOpening(posted.outcomes + 1, real, bonus, owner, posted.imports | {transaction.reference})


def _is_of(account_id: str, wallet: str) -> bool:
    """Whether an account is a wallet, or continues it."""
    return account_id == wallet or account_id.startswith(f"{wallet}@")
