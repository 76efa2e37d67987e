"""Own the account that PostgreSQL's programs run under, and what that account can reach.

PostgreSQL refuses to run as root. Root therefore starts it as `nobody`, an account every system
has: no system user is made, and no folder above our own is opened up.
"""

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ledger_server.embedded_postgres.errors import EmbeddedPostgresError

UNPRIVILEGED_USER = "nobody"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAccount:
    """Who runs PostgreSQL: us, or somebody else because we are root."""

    name: str
    user_id: int
    group_id: int
    is_ours: bool

    def run(
        self, command: Sequence[str | Path], *, folder: Path, text_input: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run one program as this account, in `folder`, and return its captured output.

        The environment is a clean one: PGDATA and its kin would misdirect the programs, and the
        ledger's own secrets are no business of another account.
        """
        environment = {"LC_ALL": "C", "PATH": os.defpath, "TZ": "UTC"}
        for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"):
            if name in os.environ:
                environment[name] = os.environ[name]
        return subprocess.run(  # noqa: S603 - the programs are PostgreSQL's own, named by path.
            [str(word) for word in command],
            check=False,
            capture_output=True,
            cwd=folder,
            env=environment,
            input=text_input,
            text=True,
            user=None if self.is_ours else self.user_id,
            group=None if self.is_ours else self.group_id,
            extra_groups=None if self.is_ours else [],
        )

    def blocking_folder(self, path: Path) -> Path | None:
        """Return the outermost folder on the way to `path` that this account cannot enter.

        Folders that do not exist yet do not block. The system is asked by trying, because
        permission bits alone do not tell: access control lists and mounts have their say.
        """
        if self.is_ours:
            return None
        for folder in reversed((path, *path.parents)):
            if folder.is_dir() and not self._can_enter(folder):
                return folder
        return None

    def give(self, path: Path) -> None:
        """Make this account the owner of `path`."""
        if not self.is_ours:
            os.chown(path, self.user_id, self.group_id)

    def _can_enter(self, folder: Path) -> bool:
        # The shell is the one program that any account can be expected to reach.
        command = ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder)]
        return self.run(command, folder=Path("/")).returncode == 0


def server_account() -> ServerAccount:
    """Return the account to run PostgreSQL under: our own, or `nobody` when we are root.

    Raises:
        EmbeddedPostgresError: we are root and the system knows no `nobody`.
    """
    if os.geteuid() != 0:
        return ServerAccount(
            name=str(os.geteuid()), user_id=os.geteuid(), group_id=os.getegid(), is_ours=True
        )
    try:
        entry = pwd.getpwnam(UNPRIVILEGED_USER)
    except KeyError as error:
        raise EmbeddedPostgresError(
            f"PostgreSQL does not run as root and this system has no account "
            f"'{UNPRIVILEGED_USER}' to run it; start Defter as an ordinary user, or set "
            f"DEFTER_DATABASE_URL"
        ) from error
    return ServerAccount(name=entry.pw_name, user_id=entry.pw_uid, group_id=entry.pw_gid, is_ours=False)
