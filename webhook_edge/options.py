"""Owns the options of endpoints: each scheme's options, and the form of each."""

import re
from collections.abc import Callable, Mapping
from typing import Final

_STRIPE_ACCOUNT: Final = re.compile(r"acct_[A-Za-z0-9]+")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,79}")


def check_options(scheme: str, options: Mapping[str, str]) -> None:
    """Check an endpoint's options.

    Raises:
        ValueError: names the option that the scheme does not have, or whose value is invalid.
    """
    known = _OPTIONS[scheme]
    for name, value in options.items():
        if name not in known:
            there_are = f"there are {', '.join(sorted(known))}" if known else "it has none"
            raise ValueError(f"the scheme {scheme!r} has no option {name!r}; {there_are}")
        try:
            known[name](value)
        except ValueError as error:
            raise ValueError(f"option {name!r}: {error}") from None


def _flag(value: str) -> None:
    if value.lower() not in {"true", "false"}:
        raise ValueError("it is true or false")


def _stripe_account(value: str) -> None:
    if not _STRIPE_ACCOUNT.fullmatch(value):
        raise ValueError("it is the id of a connected account, acct_…")


def _name(value: str) -> None:
    if not _NAME.fullmatch(value):
        raise ValueError("it is a name as the provider writes it")


_OPTIONS: Final[Mapping[str, Mapping[str, Callable[[str], None]]]] = {
    "adyen": {"auto_capture": _flag, "balance_account": _name, "live": _flag, "merchant_account": _name},
    "standard": {},
    "stripe": {"account": _stripe_account, "api_version": _name, "livemode": _flag},
}
