"""Owns when two names of reviewers may be of one person: then they count as one.

Taken for two, one person could pay out alone; taken for one, a withdrawal waits for one person more. So
whatever people write now and then differently is folded: case, blanks, accents, width, and characters that
nobody sees. Names that were proved are ASCII without blanks (decision 35), of which only case is folded.
"""

import unicodedata
from typing import Final

# Marks on letters, what is not seen, and blanks.
_UNSEEN: Final = frozenset({"Mn", "Me", "Mc", "Cf", "Cc", "Cn", "Co", "Cs", "Zs", "Zl", "Zp"})
# The Turkish letter without a dot is the small form of I, which folds to the letter with one.
_DOTLESS: Final = str.maketrans("ı", "i")


def folded(name: str) -> str:
    """Return what all spellings of a name have in common; empty if nothing of it can be seen."""
    plain = unicodedata.normalize("NFKC", name).casefold().translate(_DOTLESS)
    # Once more: letters may be folded to some that have a simpler form themselves.
    plain = unicodedata.normalize("NFKD", plain).casefold()
    return "".join(letter for letter in plain if unicodedata.category(letter) not in _UNSEEN)


def may_be_one(name: str, other: str) -> bool:
    """Whether two names may be of one person."""
    return name == other or folded(name) == folded(other)
