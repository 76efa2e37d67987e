"""Own the choice of what the protos must stay compatible with, and run `buf breaking` against it.

Run by `make lint`. An argument names the revision to compare with instead of the one worked out.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
CONTRACT = ("protos", "buf.yaml")


def main(arguments: list[str]) -> int:
    """Compare the working tree's protos with the baseline; return buf's exit code."""
    if arguments:
        revision: str | None = arguments[0]
        if not _has_contract(arguments[0]):
            sys.exit(f"contract: {arguments[0]} is no revision with protos/ in it")
    else:
        revision = next((name for name in candidates() if _has_contract(name)), None)
    if revision is None:
        shallow = _git("rev-parse", "--is-shallow-repository") == "true"
        reason = "this clone is shallow; fetch more of it" if shallow else "nothing can be broken"
        print(f"contract: no earlier revision with protos/ to compare with: {reason}")
        return 0
    short = _git("rev-parse", "--short", f"{revision}^{{commit}}") or revision
    print(f"contract: comparing with {revision} ({short})", flush=True)
    # Unpacked rather than named to buf, which would clone the whole repository to read it.
    with tempfile.TemporaryDirectory(prefix="defter-contract-") as folder:
        _unpack(revision, Path(folder))
        return subprocess.run(
            [Path(sys.executable).with_name("buf"), "breaking", "--against", folder],
            check=False,
            cwd=REPOSITORY,
        ).returncode


def candidates() -> Iterator[str]:
    """Yield the revisions to compare with, the most binding first.

    A release is what callers hold; before the first release it is the main branch, and on the main
    branch itself the commit before this one, or this one while its protos have uncommitted changes.
    """
    tag = _git("describe", "--tags", "--abbrev=0", "--match", "v[0-9]*")
    if tag:
        yield tag
    head = _git("rev-parse", "--verify", "--quiet", "HEAD")
    if not head:
        return
    for main_branch in ("origin/main", "main"):
        base = _git("merge-base", "HEAD", main_branch)
        if base and base != head:
            yield base
    if _git("status", "--porcelain", "--", *CONTRACT):
        yield "HEAD"
    yield "HEAD^1"


def _has_contract(revision: str) -> bool:
    listed = _git("ls-tree", "--name-only", revision, "--", *CONTRACT)
    return listed is not None and set(listed.split()) == set(CONTRACT)


def _unpack(revision: str, folder: Path) -> None:
    names = _git("ls-tree", "-r", "--name-only", revision, "--", *CONTRACT)
    assert names is not None, f"{revision} was listed a moment ago"
    for name in names.splitlines():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shown = subprocess.run(
            ["git", "show", f"{revision}:{name}"], check=True, cwd=REPOSITORY, capture_output=True
        )
        target.write_bytes(shown.stdout)


def _git(*arguments: str) -> str | None:
    """Return what git prints, or None where it refuses: no such revision, no repository."""
    finished = subprocess.run(
        ["git", *arguments], check=False, cwd=REPOSITORY, capture_output=True, text=True
    )
    return finished.stdout.strip() if finished.returncode == 0 else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
