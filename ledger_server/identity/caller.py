"""Owns the identity of a caller."""

from dataclasses import dataclass, field
from typing import Final, TypeAlias

from ledger_server.domain.state.commands import NamedCaller

TOKEN_PREFIX: Final = "token:"  # noqa: S105  # it is public
"""What the identity of a token begins with, and that of a certificate never does."""

Claims: TypeAlias = tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody whose identity was proved."""

    identity: str
    """The URI or DNS name of a certificate, or `token:` and the subject."""
    claims: Claims = ()
    """Those claims of a token that are strings or lists of strings, each with its values."""

    by_itself: NamedCaller = field(init=False, compare=False)
    """How records name it where it acts for nobody else; made once, since many calls have the same caller."""

    def __post_init__(self) -> None:
        """Name it."""
        subject = self.identity.removeprefix(TOKEN_PREFIX) if self.identity.startswith(TOKEN_PREFIX) else ""
        object.__setattr__(self, "by_itself", NamedCaller(self.identity, subject))

    @property
    def subject(self) -> str:
        """The subject of a token, which names a person; empty for a certificate, which is of a service."""
        return self.by_itself.person
