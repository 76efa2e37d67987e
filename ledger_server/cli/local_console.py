"""Owns the console that `defter up` runs: its users, and how somebody signs in the first time."""

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from console.users import add
from ledger_server.cli.certificate_folder import write_file
from ledger_server.cli.local_access import PERSON, LocalAccess
from signed_notes.notes import SignerKey

USERS: Final = Path(".defter") / "console-users.toml"
SECOND: Final = "grace"
"""Two people can show what one alone may not do."""


class LocalConsole:
    """A console for people on this machine.

    Attributes:
        told: how they sign in.
    """

    def __init__(self, settings: Mapping[str, Any], told: str) -> None:
        self._settings = settings
        self.told = told

    @asynccontextmanager
    async def running(self, port: int) -> AsyncIterator[str]:
        """Run it until the context ends; yield its address.

        Raises:
            OSError: the port is taken.
        """
        # A ledger alone needs no web server.
        from console.server import running  # noqa: PLC0415
        from console.settings import ConsoleSettings  # noqa: PLC0415

        settings = ConsoleSettings(**{**self._settings, "port": port})
        async with running(settings) as address:
            yield address


def local_console(target: str, access: LocalAccess | None, users: Path = USERS) -> LocalConsole:
    """Return the console of a server, with users who are made where there is no file of them.

    Args:
        target: `host:port` where people's tokens are taken, or of an open server.
        access: the files of a guarded server; None: it is an open one.
    Raises:
        OSError: the file of users, or that of the key for statements, can't be written.
    """
    told = f"its users are in {users}; `defter console user add NAME --file {users}` gives another password"
    if not users.exists():
        made = {name: secrets.token_urlsafe(12) for name in (PERSON, SECOND)}
        for name, password in made.items():
            add(users, name, password, ("payment-operators", "settlement"))
        known = " or ".join(f"{name} / {password}" for name, password in made.items())
        told = f"sign in as {known} (told once; the hashes are in {users})"
    key = users.with_name("console-statement.key")
    if not key.exists():
        private = SignerKey.new("localhost/defter-console").private_text()
        write_file(key, f"{private}\n".encode(), secret=True)
    settings: dict[str, Any] = {
        "ledger_target": target,
        "users_file": users,
        "statement_key_file": key,
        "host": "127.0.0.1",
    }
    return LocalConsole(settings | dict(access.console if access is not None else {}), told)
