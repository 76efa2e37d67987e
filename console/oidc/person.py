"""Owns who somebody is to the ledger, by the claims of an ID token."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from console.oidc.problems import Problem, SignInFailed
from console.users import RESERVED

PREFIX: Final = "oidc:"
"""What the names of those begin with who sign in by the provider; no local user's name has a colon."""
_OF_IDENTITIES: Final = "token:"
_LONGEST_NAME: Final = 200
"""Characters of a person's name, as the ledger has it."""
_LONGEST_SHOWN: Final = 100
_LONGEST_GROUP: Final = 128
_GROUPS_BYTES: Final = 4_000
"""All groups go into the token of each call, of which the ledger takes 8 KiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimNames:
    """Which claims of an ID token are read for what.

    Attributes:
        prefix: what stands in front of the subject; empty where there are no local users.
    """

    prefix: str
    subject: str
    groups: str
    shown: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderPerson:
    """Somebody whom the provider has signed in.

    Attributes:
        name: the subject of the person's tokens: what the ledger records and compares.
        groups: the claim `groups` of these tokens.
        shown: how the provider calls the person; for eyes alone, and may be empty.
        subject: the provider's own `sub`, by which it says that somebody has signed out.
        session: the provider's id of the session; empty if it has told none.
        id_token: as it came, for the provider's end of the session; empty if it is too long to be kept.
    """

    name: str
    groups: tuple[str, ...]
    shown: str
    subject: str
    session: str
    id_token: str


def person_of(claims: Mapping[str, Any], names: ClaimNames, *, id_token: str) -> ProviderPerson:
    """Return whom an ID token names.

    Raises:
        SignInFailed: nobody whom the ledger could record, or with more groups than a token holds.
    """
    subject = claims.get(names.subject)
    if not isinstance(subject, str) or not _is_name(subject):
        raise SignInFailed(Problem.SUBJECT_UNUSABLE)
    name = names.prefix + subject
    # The ledger takes no name that looks like an identity, and the console's own name has a right of its own.
    if len(name) > _LONGEST_NAME or name.lower() == RESERVED or name.lower().startswith(_OF_IDENTITIES):
        raise SignInFailed(Problem.SUBJECT_UNUSABLE)
    session, shown = claims.get("sid"), claims.get(names.shown)
    return ProviderPerson(
        name=name,
        groups=_groups(claims.get(names.groups)),
        shown=shown.strip()[:_LONGEST_SHOWN] if isinstance(shown, str) else "",
        subject=str(claims["sub"]),
        session=session if isinstance(session, str) else "",
        id_token=id_token,
    )


def _groups(value: object) -> tuple[str, ...]:
    """Return the groups of a claim: a list, or the one; what no rule could name is left out."""
    listed = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    found = tuple(
        dict.fromkeys(
            each
            for each in listed
            if isinstance(each, str) and _is_name(each) and len(each) <= _LONGEST_GROUP
        )
    )
    # To leave some out would take rights away in silence.
    if sum(len(each) + 3 for each in found) > _GROUPS_BYTES:
        raise SignInFailed(Problem.TOO_MANY_GROUPS)
    return found


def _is_name(text: str) -> bool:
    """Whether a text has one spelling alone: printable ASCII without blanks."""
    return bool(text) and text.isascii() and text.isprintable() and " " not in text
