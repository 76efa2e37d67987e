"""Owns the languages of the console: texts from `locales/`, read as they are written and never compiled."""

import gettext
from functools import cache
from pathlib import Path
from typing import Final, Literal

from babel.messages.pofile import read_po

Language = Literal["en", "tr"]
LANGUAGES: Final[dict[Language, str]] = {"en": "English", "tr": "Türkçe"}
"""Each with its own name."""
DEFAULT: Final[Language] = "en"
FOLDER: Final = Path(__file__).with_name("locales")


def N_(text: str) -> str:  # noqa: N802  # gettext's name for: translate it later
    """Mark a text for translation."""
    return text


class Texts(gettext.NullTranslations):
    """The texts of one language; what has no translation is English."""

    def __init__(self, found: dict[str, str]) -> None:
        super().__init__()
        self._found = found

    @property
    def known(self) -> dict[str, str]:
        """The texts that have a translation."""
        return self._found

    def gettext(self, message: str) -> str:
        """Return a text in the language."""
        return self._found.get(message) or message

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        """Return one of two texts; no text of the console has two, since Turkish has one behind a number."""
        return self.gettext(msgid1 if n == 1 else msgid2)


@cache
def texts(language: Language) -> Texts:
    """Return the texts of a language."""
    if language == DEFAULT:
        return Texts({})
    with (FOLDER / f"{language}.po").open("rb") as reading:
        catalogue = read_po(reading, locale=language)
    return Texts({str(each.id): str(each.string) for each in catalogue if each.id and not each.fuzzy})


def language_of(chosen: str | None, accepted: str) -> Language:
    """Return the language for a request: what was chosen, else the first one that the browser wants.

    Args:
        accepted: the header `Accept-Language`.
    """
    if chosen in LANGUAGES:
        return chosen
    for part in accepted.split(",")[:20]:
        code = part.partition(";")[0].strip().partition("-")[0].lower()
        if code in LANGUAGES:
            return code
    return DEFAULT
