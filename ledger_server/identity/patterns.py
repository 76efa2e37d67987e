"""Owns the patterns of a policy: which texts each stands for, in a time that no text can stretch."""

import re
from functools import lru_cache
from typing import Final

EVERYTHING: Final = "*"
"""A pattern that stands for everything."""


def matches(pattern: str, text: str) -> bool:
    """Whether a text is one that the pattern stands for.

    `*` stands for any characters but `/`, `**` for any, and a lone `*` for every text.
    """
    return pattern == EVERYTHING or _compiled(pattern).matches(text)


class _Pattern:
    """A pattern as an automaton whose states are the bits of a number.

    A regular expression would try every way of dividing a text among the stars, and nothing else is served
    meanwhile. Here each character costs the same, whatever came before it.
    """

    def __init__(self, pattern: str) -> None:
        self._steps: dict[str, int] = {}
        """The states that a character leads on from."""
        self._stays = self._stays_at_slash = 0
        state = 1
        for part in re.split(r"(\*+)", pattern):
            if part.startswith("*"):
                self._stays |= state
                if len(part) > 1:
                    self._stays_at_slash |= state
                continue
            for character in part:
                self._steps[character] = self._steps.get(character, 0) | state
                state <<= 1
        self._end = state

    def matches(self, text: str) -> bool:
        """Whether the whole text is of the pattern."""
        states = 1
        for character in text:
            stays = self._stays_at_slash if character == "/" else self._stays
            states = (states & self._steps.get(character, 0)) << 1 | states & stays
            if not states:
                return False
        return bool(states & self._end)


@lru_cache(maxsize=4_096)
def _compiled(pattern: str) -> _Pattern:
    return _Pattern(pattern)
