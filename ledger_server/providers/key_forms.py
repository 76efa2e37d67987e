"""Owns the forms of API keys: an impossible key is refused at start, and not with every call for hours."""

import re
from typing import Final

_BYTE_ORDER_MARK: Final = "\ufeff"
_QUOTES: Final = "\"'`\u2018\u2019\u201c\u201d"
_WEBHOOK_KEY: Final = re.compile(r"[0-9A-Fa-f]{64}")


def check_api_key(adapter: str, value: str) -> None:
    """Refuse a key with characters that editors, shells or forms add, and secrets of another kind.

    Raises:
        ValueError: without the key.
    """
    if _BYTE_ORDER_MARK in value:
        raise ValueError("has a byte order mark: save the file without one")
    # Adyen's keys may contain a quote but never begin with one.
    looked_at = value[:1] if adapter == "adyen" else value
    if any(quote in looked_at for quote in _QUOTES):
        raise ValueError("has a quote: a file or a variable has the key alone")
    if any(character.isspace() for character in value):
        raise ValueError("has a blank or a line break within it")
    if not (value.isascii() and value.isprintable()):
        raise ValueError("has a character that no key has")
    if value.startswith("whsec_") or (adapter == "adyen" and _WEBHOOK_KEY.fullmatch(value)):
        raise ValueError("is the secret of a webhook endpoint, which the edge needs, and no API key")
    if adapter == "stripe" and value.startswith("pk_"):
        raise ValueError("is a publishable key, which may not move money")
