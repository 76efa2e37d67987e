"""Owns what of withdrawals may be approved together: small ones, chosen one by one, as they were seen."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from console.catalogue import N_
from console.formats import moment_of
from defter_client import messages as m

MOST: Final = 50
_PREFIX: Final = "w:"
_SEEN: Final = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})")
_ID: Final = re.compile(r"[A-Za-z0-9_]{1,64}")

TOO_LARGE: Final = N_("its amount is too large to be approved together with others")
TWO_PEOPLE: Final = N_("two people have to approve it, each for itself")
NOT_WAITING: Final = N_("it does not wait for a review any more")
CHANGED: Final = N_("it has changed since you chose it")
APPROVED_BY_YOU: Final = N_("you have approved it already")
CLAIMED: Final = N_("somebody else works on it")


@dataclass(frozen=True, slots=True)
class Chosen:
    """A withdrawal that somebody has chosen, with what they saw of it."""

    withdrawal_id: str
    state: int
    approvals: int

    @property
    def name(self) -> str:
        """The name of its field in a form."""
        return f"{_PREFIX}{self.withdrawal_id}"

    @property
    def value(self) -> str:
        """The value of its field."""
        return f"{self.state}.{self.approvals}"


def chosen_of(withdrawal: m.Withdrawal) -> Chosen:
    """Return a withdrawal as whoever sees it now would choose it."""
    return Chosen(withdrawal.withdrawal_id, withdrawal.state, len(withdrawal.approvals))


def read(form: Mapping[str, str]) -> list[Chosen]:
    """Return what a form has chosen, in its order.

    Raises:
        ValueError: a field is not as our pages have it.
    """
    found = []
    for name, value in form.items():
        if not name.startswith(_PREFIX):
            continue
        seen, withdrawal_id = _SEEN.fullmatch(value), name.removeprefix(_PREFIX)
        if seen is None or not _ID.fullmatch(withdrawal_id):
            raise ValueError(name)
        found.append(Chosen(withdrawal_id, int(seen[1]), int(seen[2])))
    return found


def size_problem(withdrawal: m.Withdrawal, most_minor: Mapping[str, int], policy: m.WithdrawalPolicy) -> str:
    """Return why a withdrawal is none of the small ones, whatever its state; empty if it is one.

    Args:
        most_minor: by currency the largest amount, minor units; of others there are no small ones.
        policy: of the tenant.
    """
    if withdrawal.amount_minor > most_minor.get(withdrawal.currency_code, 0):
        return TOO_LARGE
    from_minor = policy.second_review_from_minor.get(withdrawal.currency_code, 0)
    return TWO_PEOPLE if from_minor and withdrawal.amount_minor >= from_minor else ""


def problem(withdrawal: m.Withdrawal, chosen: Chosen, person: str, now: datetime) -> str:
    """Return why a withdrawal should not be approved as it was chosen; empty if it may be.

    It is courtesy: the ledger decides each approval, by what was seen.
    """
    if withdrawal.state != m.WITHDRAWAL_STATE_REQUESTED:
        return NOT_WAITING
    if any(each.reviewer.lower() == person.lower() for each in withdrawal.approvals):
        return APPROVED_BY_YOU
    if chosen_of(withdrawal) != chosen:
        return CHANGED
    return CLAIMED if claimed_by_other(withdrawal, person, now) else ""


def claimed_by_other(withdrawal: m.Withdrawal, person: str, now: datetime) -> bool:
    """Whether somebody else has said that they work on it, and it still counts."""
    until = moment_of(withdrawal.claim.expire_time)
    return until is not None and until > now and withdrawal.claim.reviewer.lower() != person.lower()


def sums(withdrawals: Iterable[m.Withdrawal]) -> dict[str, int]:
    """Return what withdrawals amount to, minor units by currency."""
    found: dict[str, int] = {}
    for each in withdrawals:
        found[each.currency_code] = found.get(each.currency_code, 0) + each.amount_minor
    return found
