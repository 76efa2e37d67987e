"""Owns for whom a call is made: a token's caller is one person, a service may act for those it is allowed to.

The subject of tokens is the name of a person, also where a service names the person. A subject is ASCII by
OpenID Connect (Core, section 2), so nobody can pass for another one by letters that look alike.
"""

from collections.abc import Callable, Iterable
from typing import Final

from ledger_server.domain.errors import PersonMalformed, PersonOther
from ledger_server.identity.caller import TOKEN_PREFIX, Caller

LONGEST_PERSON: Final = 200
"""Characters of a person's name; a token's subject has no more either."""


def person_of(caller: Caller, named: Iterable[str], *, check_permitted: Callable[[str], None]) -> str:
    """Return for whom a call is made; empty if a service names nobody.

    Args:
        named: whom the call names, in each place where it can; empty texts name nobody.
        check_permitted: raises PersonNotPermitted if the caller, a service, may not act for a person.
    Raises:
        PersonOther: a token's caller names somebody else, or a service names two persons.
        PersonMalformed: the name can't be a person's.
        PersonNotPermitted: the service may not act for the person.
    """
    names = {name for name in named if name}
    subject = caller.subject
    if subject:
        names.add(subject)
    if len(names) > 1:
        raise PersonOther(person=min(names - {subject}), identity=caller.identity)
    if not names:
        return ""
    [name] = names
    if not subject:
        check_name(name)
        check_permitted(name)
    return name


def check_name(name: str) -> None:
    """Check that a name can be a person's: that it has one spelling.

    Raises:
        PersonMalformed: it has other characters than printable ASCII, a blank, or the prefix of an identity.
    """
    if name and not is_name(name):
        raise PersonMalformed(person=name[:LONGEST_PERSON])


def is_name(name: str) -> bool:
    """Whether a text can be a person's name; see `check_name`."""
    well_formed = name.isascii() and name.isprintable() and " " not in name
    return well_formed and 0 < len(name) <= LONGEST_PERSON and not name.lower().startswith(TOKEN_PREFIX)
