"""Own what operators' pages tell to type: the commands of their blocks, and which of them tests can't run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

REPOSITORY: Final = Path(__file__).resolve().parents[2]
OPERATIONS: Final = REPOSITORY / "docs" / "operations"
INCIDENTS: Final = sorted((OPERATIONS / "incidents").glob("*.md"))
TURKISH: Final = sorted((OPERATIONS / "tr").rglob("*.md"))
PAGES: Final = (
    *(
        OPERATIONS / name
        for name in ("decisions.md", "deployment.md", "quick-start.md", "schedulers.md", "secrets.md")
    ),
    *INCIDENTS,
    *TURKISH,
)
ELSEWHERE: Final = {
    "systemctl": "it starts and stops processes of the machine",
    "journalctl": "it reads the journal of the machine",
    "install": "it writes to the machine's folders of systemd",
    "podman": "it needs an engine; where there is one, test_deployment_files.py builds the image",
    "df": "it looks at a folder of a real database's host",
    "pg_basebackup": "a copy of the whole cluster takes long",
    "curl": "it reads metrics or probes of a process that listens at its usual port",
    "grpc_health_probe": "a program of others, which the image brings",
    "git": "it fetches the checkout that the test runs in",
    "make": "tests/integration/test_up.py runs what `make up` runs",
}
"""Programs that tests don't run, each with the reason; their words are still parsed by a shell."""
SHELL: Final = {".", "alias", "cd", "export", "grep", "grpcurl", "ledger", "mv", "psql", "sed", "umask"}
"""Programs that are run as they stand; `ledger` is grpcurl with a proof."""
OURS: Final = {"defter", ".venv/bin/defter"}
_BLOCK: Final = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_BETWEEN: Final = {"&&", "||", "|", ";"}
_SUBSTITUTION: Final = re.compile(r"\$\(([^()]*)\)")
_REDIRECTION: Final = re.compile(r"^[<>&]+$")
_ASSIGNMENT: Final = re.compile(r"^[A-Za-z_]\w*=")


class Call(NamedTuple):
    """One program with its words, out of a command line."""

    program: str
    words: tuple[str, ...]


def commands(page: Path) -> Iterator[str]:
    """Yield the command lines of a page, each with its continued lines."""
    for block in _BLOCK.findall(page.read_text(encoding="utf-8")):
        line = ""
        for each in block.splitlines():
            if each.startswith("$ "):
                line = each.removeprefix("$ ")
            elif line.endswith("\\"):
                line = f"{line.removesuffix(chr(92))}{each.strip()}"
            else:
                continue  # what a command answers
            if not line.endswith("\\"):
                yield line


def calls(command: str) -> Iterator[Call]:
    """Yield the programs that a command line starts, without assignments and redirections."""
    for within in _SUBSTITUTION.findall(command):
        yield from calls(within)
    words: list[str] = []
    lexer = shlex.shlex(_SUBSTITUTION.sub("it", command), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    for word in [*lexer, ";"]:
        if word not in _BETWEEN:
            words.append(word)
            continue
        while words and _ASSIGNMENT.match(words[0]):
            del words[0]
        if words:
            end = next((at for at, each in enumerate(words) if _REDIRECTION.match(each)), len(words))
            yield Call(words[0], tuple(words[1:end]))
        words = []
