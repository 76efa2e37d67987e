"""Owns the ledger's side of a comparison: wallets as one record left them, some players at a time."""

import re
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from ledger_server.domain.ids import TenantKey
from ledger_server.domain.ledger.accounts import AccountKind, Counters, posted_balance
from ledger_server.domain.reconciliation.balance_comparison import Balance, Bucket, Drift
from ledger_server.store.database import Pool
from ledger_server.store.queries import compared_wallets
from ledger_server.store.queries.compared_wallets import WalletAccountThen

_PAGE: Final = 2_000
_PLAYERS: Final = 500
# Looking back is the dearest read, so it goes in small steps.
_LOOKS: Final = 100
_NAME: Final = re.compile(r"player:(?P<player>[^:]+):(?P<bucket>real|bonus):(?P<currency>[^:]+)")
_ANY: Final = re.compile(r"player:([^:]+):")
_BEGIN: Final = "player:"

Purses = Mapping[tuple[str, str, Bucket], Sequence[WalletAccountThen]]


class Since(NamedTuple):
    """Where a drift can come from: see `BalanceDifference` in the contract; 0 for none."""

    agreed: int
    since: int


class Stretch(NamedTuple):
    """All wallets of some players who follow one another.

    Attributes:
        end: the last player up to whom both sides are known; None: as far as was asked for.
    """

    balances: Sequence[Balance]
    purses: Purses
    end: str | None


class Wallets:
    """The wallets of a tenant as one record left them."""

    def __init__(self, pool: Pool, key: TenantKey, sequence: int) -> None:
        self._pool = pool
        self._key = key
        self._sequence = sequence
        self._after = _BEGIN

    async def up_to(self, player_id: str | None) -> AsyncGenerator[Stretch, None]:
        """Yield all players behind those who were yielded before, up to one or to the last."""
        end = _behind(player_id) if player_id is not None else f"{_BEGIN[:-1]};"
        waiting: list[WalletAccountThen] = []
        while True:
            async with self._pool.acquire() as connection:
                page = await compared_wallets.accounts_between(
                    connection, self._key, self._sequence, low=self._after, high=end, size=_PAGE
                )
            waiting += [each for each in page if _ANY.match(each.account_id)]
            if len(page) < _PAGE:
                self._after = end
                yield self._stretch(waiting, None)
                return
            self._after = page[-1].account_id
            if not waiting:
                continue
            # Of the last player there may be more accounts to come.
            last = _player(waiting[-1])
            ready = [each for each in waiting if _player(each) != last]
            if ready:
                waiting = waiting[len(ready) :]
                yield self._stretch(ready, _player(ready[-1]))

    async def of(self, lines: Sequence[Balance]) -> AsyncGenerator[Stretch, None]:
        """Yield the wallets of the players of some lines, which are in order."""
        players = list(dict.fromkeys(each.player_id for each in lines))
        named = {(each.player_id, each.currency) for each in lines}
        for start in range(0, len(players), _PLAYERS):
            some = players[start : start + _PLAYERS]
            async with self._pool.acquire() as connection:
                found = await compared_wallets.accounts_of_players(
                    connection,
                    self._key,
                    self._sequence,
                    [(f"{_BEGIN}{player}:", _behind(player)) for player in some],
                )
            stretch = self._stretch(found, some[-1])
            # What a partial snapshot does not name is not covered by it, be it of one of its players.
            covered = [each for each in stretch.balances if (each.player_id, each.currency) in named]
            yield stretch._replace(balances=covered)

    async def since(self, drifts: Sequence[Drift], stretch: Stretch) -> list[Since]:
        """Return for each drift since when the account no longer stands at the snapshot's amount."""
        found = [Since(0, 0)] * len(drifts)
        looks: list[tuple[int, int, int]] = []
        for index, drift in enumerate(drifts):
            purse = stretch.purses.get((drift.player_id, drift.currency, drift.bucket), ())
            if not purse:
                continue
            found[index] = Since(0, min(each.number for each in purse))
            if len(purse) == 1:
                # Credits less debits, whatever the account's normal side is.
                sign = posted_balance(_kind(purse[0]), _counters(0, 1))
                looks.append((index, purse[0].number, sign * (drift.snapshot or 0)))
        for start in range(0, len(looks), _LOOKS):
            some = looks[start : start + _LOOKS]
            async with self._pool.acquire() as connection:
                seen = await compared_wallets.stood_at(
                    connection, self._key, self._sequence, [(number, net) for _, number, net in some]
                )
            for (index, _, _), each in zip(some, seen, strict=True):
                if each.agreed is not None and each.following is not None:
                    found[index] = Since(each.agreed, each.following)
        return found

    def _stretch(self, accounts: Iterable[WalletAccountThen], end: str | None) -> Stretch:
        purses: dict[tuple[str, str, Bucket], list[WalletAccountThen]] = {}
        for account in accounts:
            if account.number > self._sequence:  # it was opened later
                continue
            name = _NAME.fullmatch(account.account_id)
            if name is None:
                continue
            currency = name["currency"].rpartition("@")[0] if account.continues else name["currency"]
            # Payments would not use an account of that name in another currency.
            if currency == account.currency:
                bucket = Bucket.REAL if name["bucket"] == "real" else Bucket.BONUS
                purses.setdefault((name["player"], currency, bucket), []).append(account)
        found = dict.fromkeys((player, currency) for player, currency, _ in purses)
        balances = [
            Balance(
                player,
                currency,
                _sum(purses.get((player, currency, Bucket.REAL))),
                _sum(purses.get((player, currency, Bucket.BONUS))),
            )
            for player, currency in found
        ]
        return Stretch(balances, purses, end)


def _behind(player_id: str) -> str:
    """Return what lies behind every id of a player's accounts."""
    return f"{_BEGIN}{player_id};"


def _player(account: WalletAccountThen) -> str:
    match = _ANY.match(account.account_id)
    assert match is not None
    return match[1]


def _kind(account: WalletAccountThen) -> AccountKind:
    # Money left on a continued account counts by its successor's kind, even if its own kind was wrong.
    return AccountKind.LIABILITY if account.continued else AccountKind(account.kind)


def _counters(debits: int, credits_: int) -> Counters:
    return Counters(debits, credits_, 0, 0, 0)


def _sum(purse: Sequence[WalletAccountThen] | None) -> int | None:
    if purse is None:
        return None
    return sum(posted_balance(_kind(each), _counters(each.debits or 0, each.credits or 0)) for each in purse)
