"""Owns the forms of secrets: an impossible secret is refused when it is read, and not with every delivery.

No error about a secret repeats any part of it.
"""

import base64
import re
from collections.abc import Callable, Mapping
from typing import Final

_BYTE_ORDER_MARK: Final = "\ufeff"
_QUOTES: Final = "\"'`\u2018\u2019\u201c\u201d"
_API_KEY: Final = re.compile(r"(sk|pk|rk)_(live|test)_.*", re.DOTALL)
_STRIPE: Final = re.compile(r"whsec_[A-Za-z0-9+/=_-]+")
_HEXADECIMAL: Final = re.compile(r"[0-9A-Fa-f]+")
# Adyen's keys have 64 digits. Its SDK would accept an empty key, with which anybody can sign.
LEAST_DIGITS: Final = 32
_STANDARD_BYTES: Final = range(24, 65)
# The prefixes of keys for asymmetric signatures (v1a), which are not verified here.
_ASYMMETRIC: Final = ("whpk_", "whsk_")


def check_secret(scheme: str, value: str) -> None:
    """Refuse a secret that can't be one of its scheme, before the first delivery comes.

    Raises:
        ValueError: without the secret.
    """
    _check_text(value)
    _CHECKS[scheme](value)


def check_password(value: str) -> None:
    """Refuse a password that can't be what its owner chose; inner blanks and quotes are allowed.

    Raises:
        ValueError: without the password.
    """
    if not value:
        raise ValueError("the password is empty")
    if _BYTE_ORDER_MARK in value:
        raise ValueError("the password has a byte order mark")
    if value != value.strip() or not value.isprintable():
        raise ValueError(
            "the password has a blank or a line break at an end, or a character that can't be typed"
        )


def is_standard(value: str) -> bool:
    """Return whether this is a symmetric secret of Standard Webhooks: base64 of 24 to 64 bytes.

    The prefix `whsec_` is optional: the specification adds it for people, and the key is what follows.
    """
    encoded = value.removeprefix("whsec_")
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except ValueError:
        return False
    return len(key) in _STANDARD_BYTES


def is_adyen(value: str) -> bool:
    """Return whether this is a key of Adyen's: hexadecimal, and long enough."""
    return len(value) >= LEAST_DIGITS and len(value) % 2 == 0 and _HEXADECIMAL.fullmatch(value) is not None


def _check_text(value: str) -> None:
    """Refuse characters that editors, shells and forms add, and those that no scheme's secret has."""
    if not value:
        raise ValueError("it is empty")
    if _BYTE_ORDER_MARK in value:
        raise ValueError("it has a byte order mark: save the file without one")
    if any(quote in value for quote in _QUOTES):
        raise ValueError("it has a quote: a file or a variable has the secret alone")
    if any(character.isspace() for character in value):
        raise ValueError("it has a blank or a line break")
    if not (value.isascii() and value.isprintable()):
        raise ValueError("it has a character that no secret has")
    if _API_KEY.fullmatch(value):
        raise ValueError("it is an API key: the secret of the webhook endpoint is another one")


def _check_stripe(value: str) -> None:
    if not _STRIPE.fullmatch(value):
        raise ValueError("it is not whsec_ and what Stripe shows behind it")


def _check_adyen(value: str) -> None:
    if not _HEXADECIMAL.fullmatch(value):
        raise ValueError("it is not hexadecimal: the HMAC key of the webhook is wanted, no API key")
    if not is_adyen(value):
        raise ValueError(f"it is not {LEAST_DIGITS} or more hexadecimal digits, two for each byte")


def _check_standard(value: str) -> None:
    if value.startswith(_ASYMMETRIC):
        raise ValueError(f"{value[:5]} is a key of asymmetric signatures, which are not supported")
    if not is_standard(value):
        raise ValueError("it is not base64 of 24 to 64 bytes, with whsec_ before it or without")


_CHECKS: Final[Mapping[str, Callable[[str], None]]] = {
    "adyen": _check_adyen,
    "standard": _check_standard,
    "stripe": _check_stripe,
}
