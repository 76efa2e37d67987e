"""Owns what is known of accounts and findings that a lane does not have in its working set.

Whether a tenant may be switched to ENFORCED depends on all of its accounts. They are looked at outside the
lane, as they stood after some record; the lane looks again only at what has changed since.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct


class LimitSurvey(Struct, frozen=True):
    """Which accounts stood below their lower limit.

    Attributes:
        through: the newest record that is certainly included; accounts that later records name may have been
            looked at before or after them.
        below: the numbers of the accounts, each once.
    """

    through: int
    below: tuple[int, ...]


NO_SURVEY: Final = LimitSurvey(0, ())
"""Nobody has looked: every record is still to be looked at."""


class Unloaded(Struct, frozen=True):
    """What stands against ENFORCED apart from the working set's own accounts and findings.

    Attributes:
        below: the numbers of accounts that stand below their lower limit. Where the working set has the
            account as well, the working set is right.
        account_ids: of some of them.
        finding_count: how many blocking findings are open that the working set does not have.
        fingerprints: of some of them.
    """

    below: tuple[int, ...]
    account_ids: Mapping[int, str]
    finding_count: int
    fingerprints: tuple[bytes, ...]


ALL_LOADED: Final = Unloaded((), {}, 0, ())
"""The working set has everything that there is."""
