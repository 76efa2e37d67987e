"""Owns the tree that ids of accounts make: `player:42:real:EUR` is below `player:42:` and `player:`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from defter_client import messages as m

DERIVED: Final = ("bank:", "equity:", "player:", "psp:")
"""Beginnings of the names that payments derive: the ledger's contract names them."""
ROOTS: Final = (*DERIVED, "house:")
_SEPARATOR: Final = ":"

Item = m.ListAccountsResponse.Item


@dataclass(frozen=True, slots=True)
class Sum:
    """What the accounts of one currency and kind have together, minor units."""

    currency: str
    kind: int
    posted: int
    available: int


@dataclass(frozen=True, slots=True)
class Branch:
    """Accounts of a page whose ids go on alike.

    Attributes:
        prefix: what their ids begin with.
        items: in the order of their ids.
        is_whole: whether there are no more of them on a later page.
    """

    prefix: str
    items: tuple[Item, ...]
    is_whole: bool

    @property
    def is_account(self) -> bool:
        """Whether it is shown as an account: there is one, and no more below it."""
        return len(self.items) == 1 and self.is_whole

    @property
    def sums(self) -> tuple[Sum, ...]:
        """What they have together, by currency and kind: money of different kinds can't be added."""
        found: dict[tuple[str, int], list[int]] = {}
        for item in self.items:
            both = found.setdefault((item.account.currency_code, item.account.kind), [0, 0])
            both[0] += item.balance.posted_balance_minor
            both[1] += item.balance.available_balance_minor
        return tuple(Sum(*name, *both) for name, both in sorted(found.items()))


def branches(items: Sequence[Item], prefix: str, *, has_more: bool) -> tuple[Branch, ...]:
    """Return the branches below a prefix.

    Args:
        items: one page of accounts in the order of their ids, each beginning with the prefix.
        has_more: whether a further page follows, on which the last branch may go on.
    """
    grouped: dict[str, list[Item]] = {}
    for item in items:
        grouped.setdefault(_child(item.account.account_id, prefix), []).append(item)
    last = next(reversed(grouped), "")
    return tuple(
        Branch(child, tuple(below), is_whole=not (has_more and child == last))
        for child, below in grouped.items()
    )


def _child(account_id: str, prefix: str) -> str:
    """Return the next part of an id: up to its next colon, or all of it."""
    end = account_id.find(_SEPARATOR, len(prefix))
    return account_id if end < 0 else account_id[: end + 1]


def way(prefix: str) -> Iterator[tuple[str, str]]:
    """Yield each prefix above one, and the one itself, with what it adds."""
    end = 0
    while end < len(prefix):
        found = prefix.find(_SEPARATOR, end)
        following = len(prefix) if found < 0 else found + 1
        yield prefix[:following], prefix[end:following]
        end = following
