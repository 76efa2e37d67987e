"""Owns what an id of the ledger is of, as its own text says; nobody is asked.

An id is a prefix, 13 letters that stand for the tenant, the epoch if its record has one, and a number. That
of a finding is its prefix and 32 hexadecimal digits.
"""

import re
from enum import Enum
from typing import Final


class IdKind(Enum):
    """What an id can be of; the value is what such ids begin with."""

    TRANSACTION = "tx_"
    HOLD = "hold_"
    DEPOSIT = "dep_"
    WITHDRAWAL = "wd_"
    REFUND = "ref_"
    PROVIDER_EVENT = "evt_"
    RUN = "run_"
    ADJUSTMENT = "adj_"
    FINDING = "fnd_"


_LETTER: Final = "[0-9a-hjkmnp-tv-z]"
_NUMBERED: Final = re.compile(
    f"(tx|hold|dep|wd|ref|evt|run|adj)_{_LETTER}{{13}}_(?:{_LETTER}{{8}}_)?([1-9][0-9]{{0,18}})"
)
_FINDING: Final = re.compile(r"fnd_[0-9a-f]{32}")
_LARGEST: Final = 2**63 - 1


def kind_of(text: str) -> IdKind | None:
    """Return what an id is of; None for a text that has not the form of an id.

    Of whose tenant it is, and whether there is such a thing, only the ledger knows. Names that callers choose
    (accounts, players) and ids of providers are no ids of the ledger; one of them may have the form of one.
    """
    if _FINDING.fullmatch(text):
        return IdKind.FINDING
    found = _NUMBERED.fullmatch(text)
    if found is None or int(found[2]) > _LARGEST:
        return None
    kind = IdKind(f"{found[1]}_")
    # Runs follow from a key and not from a record, so they have no epoch.
    return None if kind is IdKind.RUN and text.count("_") > 2 else kind
