"""Owns how text from outside is shown: as text, in its own direction, with the unseen made visible."""

import unicodedata
from typing import Final

from markupsafe import Markup, escape

SHOWN: Final = 300
"""Characters that are shown at once; the rest is one click away."""
_CUT_OFF: Final = 20_000
# Categories of characters that show nothing and change how others look: controls, formats (directions and
# joiners among them), unassigned and private ones, lone surrogates, line and paragraph separators.
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cn", "Cs", "Co", "Zl", "Zp"})


def visible(text: str) -> str:
    """Return a text whose unseen characters are told by their numbers, as `⟨U+202E⟩`; line ends stay."""
    return "".join(
        character
        if character in "\n\t" or unicodedata.category(character) not in _UNSEEN
        else f"⟨U+{ord(character):04X}⟩"
        for character in text
    )


def outside(text: str, more: str = "…") -> Markup:
    """Return the markup for a text that somebody else has written.

    Args:
        more: what opens the rest of a long one.
    """
    seen = visible(text[:_CUT_OFF])
    if len(seen) <= SHOWN:
        return Markup('<bdi class="outside" translate="no">{}</bdi>').format(seen)
    head, rest = seen[:SHOWN], seen[SHOWN:]
    return Markup(
        '<bdi class="outside" translate="no">{}</bdi>'
        '<details class="rest"><summary>{}</summary><bdi class="outside" translate="no">{}</bdi></details>'
    ).format(head, escape(more), rest)


def code(text: str) -> Markup:
    """Return the markup for an id or a code, which is no word of any language."""
    return Markup('<code lang="en" translate="no"><bdi>{}</bdi></code>').format(visible(text[:_CUT_OFF]))


def raw(text: str) -> Markup:
    """Return the markup for a body in lines, which stands in an element that keeps them.

    Long ones are cut by whoever shows them.
    """
    return Markup('<bdi lang="en" translate="no">{}</bdi>').format(visible(text))
