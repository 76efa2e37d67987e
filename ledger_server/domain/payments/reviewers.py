"""Owns when two names of reviewers may be of one person: then they count as one.

Taken for two, one person could pay out alone; taken for one, a withdrawal waits for one person more. So
whatever people write now and then differently is folded: case, blanks, accents, width, characters that nobody
sees, and letters of other scripts that look like Latin ones. Names that were proved are ASCII without blanks
(decision 35): of them only case is folded. Digits stay what they are, `dan1` and `danl` being two accounts.
"""

import unicodedata
from typing import Final

# Marks on letters, what is not seen, and blanks.
_UNSEEN: Final = frozenset({"Mn", "Me", "Mc", "Cf", "Cc", "Cn", "Co", "Cs", "Zs", "Zl", "Zp"})
# Letters that are shown as nothing although they count as letters: fillers of Hangul, and a blank of Braille.
_BLANK_LETTERS: Final = "\u115f\u1160\u3164\uffa0\u2800"
# Small letters of Latin, Greek, Cyrillic and Armenian that look like a Latin one, small or large: the Greek
# beta looks like B when it is large. The Turkish letter without a dot is the small form of I.
_LOOKALIKES: Final = {
    "a": "аαɑ",
    "b": "вβƅь",
    "c": "сϲᴄ",
    "d": "ԁɗ",
    "e": "еεҽ",
    "g": "ɡց",
    "h": "һнηհ",
    "i": "іιıɩӏǀ",
    "j": "јϳ",
    "k": "кκᴋ",
    "l": "ⅼ",
    "m": "мμᴍ",
    "n": "ո",
    "o": "оοσօᴏ",
    "p": "рρ",
    "q": "ԛզ",
    "r": "ꭇ",
    "s": "ѕꜱ",
    "t": "тτᴛ",
    "u": "υսᴜ",
    "v": "ѵνᴠ",
    "w": "ԝωѡᴡ",
    "x": "хχ",
    "y": "уγүყ",
    "z": "ᴢζ",
}
_FOLDS: Final = str.maketrans(
    {
        **{like: letter for letter, likes in _LOOKALIKES.items() for like in likes},
        **dict.fromkeys(_BLANK_LETTERS, ""),
    }
)


def folded(name: str) -> str:
    """Return what all spellings of a name have in common; empty if nothing of it can be seen."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    # Once more: letters may be folded to some that have a simpler form themselves.
    plain = unicodedata.normalize("NFKD", plain).casefold()
    seen = "".join(letter for letter in plain if unicodedata.category(letter) not in _UNSEEN)
    return seen.translate(_FOLDS)


def may_be_one(name: str, other: str) -> bool:
    """Whether two names may be of one person."""
    return name == other or folded(name) == folded(other)
