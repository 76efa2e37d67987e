"""Owns the search for misspelt settings: `DEFTER_…` variables that no process reads.

A variable whose name is nearly a known one is refused: its author believes it to be in force, and the
providers' file or a server's address would silently be missing. Any other unknown variable is only reported,
since it may belong to another program, to a newer version that is being deployed or rolled back, or to the
platform (Kubernetes sets `DEFTER_SERVICE_HOST` for a service of that name).
"""

from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

PREFIX: Final = "DEFTER_"
_MOST_LETTERS: Final = 2
# In a short name two wrong letters make another word.
_LETTERS_PER_SLIP: Final = 4


class Unknown(NamedTuple):
    """A variable that no process reads, and the known name that is nearly the same, if there is one."""

    name: str
    meant: str | None

    def __str__(self) -> str:
        if self.meant is None:
            return f"{self.name}: there is no such setting"
        return f"{self.name}: there is no such setting; {self.meant} is meant"


def unknown_settings(
    names: Iterable[str], known: Collection[str], *, foreign: tuple[str, ...] = ()
) -> list[Unknown]:
    """Return those `DEFTER_…` variables that no process reads, the misspelt ones first.

    Args:
        known: all names that are read.
        foreign: prefixes of names that other programs read.
    """
    found = [
        Unknown(name, _meant(name, known))
        for name in sorted(names)
        if name.upper().startswith(PREFIX) and name not in known and not name.startswith(foreign)
    ]
    return sorted(found, key=lambda each: each.meant is None)


def _meant(name: str, known: Collection[str]) -> str | None:
    return next((each for each in sorted(known) if _nearly(name.upper(), each)), None)


def _nearly(name: str, known: str) -> bool:
    """Whether a name is a known one with one or two slips, or without its end."""
    word, whole = name.removeprefix(PREFIX), known.removeprefix(PREFIX)
    if not word:
        return False
    at_most = min(_MOST_LETTERS, len(whole) // _LETTERS_PER_SLIP)
    return word == whole or whole.startswith(f"{word}_") or _slips(word, whole) <= at_most


def _slips(word: str, whole: str) -> int:
    """Return how many letters are wrong, missing, too many, or exchanged with their neighbour."""
    rows = [list(range(len(whole) + 1))]
    for i, letter in enumerate(word, 1):
        row = [i]
        for j, other in enumerate(whole, 1):
            least = min(rows[i - 1][j] + 1, row[j - 1] + 1, rows[i - 1][j - 1] + (letter != other))
            if i > 1 and j > 1 and (letter, word[i - 2]) == (whole[j - 2], other):
                least = min(least, rows[i - 2][j - 2] + 1)
            row.append(least)
        rows.append(row)
    return rows[-1][-1]
