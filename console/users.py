"""Owns the local users: a file with names, groups and scrypt hashes, which counts as it stands now."""

import base64
import hashlib
import hmac
import json
import os
import re
import secrets
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

LEAST_PASSWORD: Final = 12
"""Characters of a password."""
MOST_PASSWORD: Final = 256
RESERVED: Final = "defter-console"
"""The subject with which the console itself follows journals; nobody signs in as it."""
_COST: Final = 2**15
_BLOCK: Final = 8
_MEMORY: Final = 64 * 1024 * 1024
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_GROUP: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_SALT_BYTES: Final = 16


class UsersUnusable(ValueError):
    """The file of users can't be read, or is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Somebody who may sign in.

    Attributes:
        name: the subject of the person's tokens: what the ledger records and compares.
        groups: the claim `groups` of these tokens, which rules of the ledger's policy name.
        password: `scrypt$n$r$p$salt$hash`.
    """

    name: str
    groups: tuple[str, ...]
    password: str


def check_name(name: str) -> None:
    """Check that a name can be a person's.

    Raises:
        ValueError: it has other characters, or is the console's own.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            "a name has 1 to 64 of A-Z, a-z, 0-9, `.`, `_`, `@` and `-`, the first a letter or digit"
        )
    if name.lower() == RESERVED:
        raise ValueError(f"{RESERVED} is the console's own name")


def check_password(password: str) -> None:
    """Check that a password is none that is guessed at once.

    Raises:
        ValueError: it is too short or too long.
    """
    if not LEAST_PASSWORD <= len(password) <= MOST_PASSWORD:
        raise ValueError(f"a password has {LEAST_PASSWORD} to {MOST_PASSWORD} characters")


def hashed(password: str) -> str:
    """Return what is kept of a password."""
    salt = secrets.token_bytes(_SALT_BYTES)
    return "$".join(
        (
            "scrypt",
            str(_COST),
            str(_BLOCK),
            "1",
            _text(salt),
            _text(_derive(password, salt, _COST, _BLOCK, 1)),
        )
    )


def matches(password: str, kept: str) -> bool:
    """Whether a password is the one of which this was kept; takes a tenth of a second and 32 MiB."""
    try:
        kind, cost, block, parallel, salt, wanted = kept.split("$")
        derived = _derive(password, _bytes(salt), int(cost), int(block), int(parallel))
        return kind == "scrypt" and hmac.compare_digest(derived, _bytes(wanted))
    except (ValueError, MemoryError):
        return False


class Users:
    """The users of a file, read again when it changes."""

    def __init__(self, file: Path | None) -> None:
        """Read the file.

        Args:
            file: None: there are no local users.
        Raises:
            UsersUnusable: it can't be used.
        """
        self._file = file
        self._stamp: tuple[int, ...] = ()
        self._users: dict[str, User] = {}
        self._nobody = hashed(secrets.token_urlsafe())
        self.refresh()

    @property
    def are_configured(self) -> bool:
        """Whether anybody may sign in by a password."""
        return self._file is not None

    def refresh(self) -> None:
        """Read the file again if it has changed.

        Raises:
            UsersUnusable: it can't be used; then nobody counts until it can.
        """
        if self._file is None:
            return
        try:
            stat = self._file.stat()
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if stamp != self._stamp:
                self._users = {}
                self._users = {user.name: user for user in read(self._file)}
                self._stamp = stamp
        except OSError as error:
            self._users, self._stamp = {}, ()
            raise UsersUnusable(f"{self._file}: {error.strerror}") from None

    def get(self, name: str) -> User | None:
        """Return a user as the file has it."""
        return self._users.get(name)

    def verified(self, name: str, password: str) -> User | None:
        """Return the user whose password it is; a name that nobody has takes as long as a wrong password."""
        user = self._users.get(name)
        is_right = matches(password[:MOST_PASSWORD], self._nobody if user is None else user.password)
        return user if is_right else None


def read(file: Path) -> list[User]:
    """Return the users of a file.

    Raises:
        UsersUnusable: it is no file of users; the message has no hash.
        OSError: it can't be read.
    """
    try:
        rows = tomllib.loads(file.read_text(encoding="utf-8")).get("user", [])
        users = [
            User(name=row["name"], groups=tuple(row.get("groups", ())), password=row["password"])
            for row in rows
        ]
        for user in users:
            _check(user)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        raise UsersUnusable(f"{file}: no file of users") from None
    except ValueError as error:
        raise UsersUnusable(f"{file}: {error}") from None
    # The ledger takes names that differ in case alone for one person.
    if len({user.name.lower() for user in users}) != len(users):
        raise UsersUnusable(f"{file}: two users have one name")
    return users


def _check(user: User) -> None:
    check_name(user.name)
    if not all(_GROUP.fullmatch(group) for group in user.groups):
        raise ValueError(f"{user.name}: a group has 1 to 64 of A-Z, a-z, 0-9, `.`, `_`, `:` and `-`")
    if user.password.count("$") != 5 or not user.password.startswith("scrypt$"):
        raise ValueError(f"{user.name}: no scrypt hash")


def add(file: Path, name: str, password: str, groups: Sequence[str]) -> bool:
    """Write a user into a file that its owner alone can read; return whether the name is new there.

    Raises:
        ValueError: the name, a group or the password can't be used.
        OSError: the file can't be written.
    """
    check_name(name)
    check_password(password)
    for group in groups:
        if not _GROUP.fullmatch(group):
            raise ValueError(f"{group!r} is no group")
    users = {user.name: user for user in (read(file) if file.exists() else ())}
    is_new = name not in users
    if is_new and name.lower() in {each.lower() for each in users}:
        raise ValueError(f"{name}: somebody has this name in another spelling")
    made = User(name=name, groups=tuple(groups), password=hashed(password))
    users[name] = made if is_new or groups else replace(made, groups=users[name].groups)
    write(file, list(users.values()))
    return is_new


def write(file: Path, users: Sequence[User]) -> None:
    """Replace a file of users at once; its owner alone can read it from the first moment on."""
    lines = [
        "# Who may sign in at the console. `defter console user add` writes it; changes count at once.\n"
    ]
    lines += [
        f"\n[[user]]\nname = {json.dumps(user.name)}\ngroups = {json.dumps(list(user.groups))}\n"
        f"password = {json.dumps(user.password)}\n"
        for user in users
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.new")
    with os.fdopen(
        os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
    ) as writing:
        writing.write("".join(lines))
    new.replace(file)


def _derive(password: str, salt: bytes, cost: int, block: int, parallel: int) -> bytes:
    return hashlib.scrypt(
        password.encode("utf-8", "surrogatepass"), salt=salt, n=cost, r=block, p=parallel, maxmem=_MEMORY
    )


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
