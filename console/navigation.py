"""Owns the way to the pages of a tenant: in which order and groups they are offered."""

from typing import Final, NamedTuple

from console.catalogue import N_


class Entry(NamedTuple):
    """A page that is offered on every page.

    Attributes:
        here: the name by which a template says that it is this page.
        part: the path below the tenant's.
        word: what it is called.
    """

    here: str
    part: str
    word: str


class Group(NamedTuple):
    """Pages of one kind of work."""

    word: str
    entries: tuple[Entry, ...]


GROUPS: Final[tuple[Group, ...]] = (
    Group(
        N_("Work"),
        (
            Entry("withdrawals", "withdrawals", N_("Withdrawals")),
            Entry("adjustments", "adjustments", N_("Adjustments")),
            Entry("findings", "findings", N_("Findings")),
            Entry("settlement", "settlement", N_("Settlement")),
            Entry("runs", "runs", N_("Reconciliation")),
        ),
    ),
    Group(
        N_("Payments"),
        (
            Entry("deposits", "deposits", N_("Deposits")),
            Entry("events", "events", N_("Events")),
            Entry("providers", "providers", N_("Providers")),
        ),
    ),
    Group(
        N_("Books"),
        (
            Entry("trial-balance", "trial-balance", N_("Trial balance")),
            Entry("accounts", "accounts", N_("Accounts")),
            Entry("journal", "journal", N_("Journal")),
        ),
    ),
    Group(N_("Rules"), (Entry("withdrawal-policy", "withdrawal-policy", N_("Withdrawal policy")),)),
)
