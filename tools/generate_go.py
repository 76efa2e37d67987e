"""Own the generated Go: protos/**/*.proto become clients/go/gen/**, and what clients/go/defter/*_gen.go has.

Run by `make gen`; with --check it changes nothing and fails when the committed files are stale. A clone needs
no Go: without it this says so and does nothing. Under CI, where nothing may be left out, it fails then.
"""

import argparse
import difflib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tools.clients.go import generated
from tools.generate_stubs import generators_python

REPOSITORY = Path(__file__).resolve().parent.parent
PROTO_ROOT = REPOSITORY / "protos"
MODULE_ROOT = REPOSITORY / "clients" / "go"
# Its go.mod and go.sum pin the plug-ins, and Go verifies them.
TOOLS_MODULE = REPOSITORY / "tools" / "go"
TOOLS_FOLDER = REPOSITORY / ".cache" / "go-tools"
MODULE: Final = "defter.example/defter/clients/go"


def main() -> int:
    """Write the generated Go, or compare it with a fresh generation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when committed files are stale")
    check = parser.parse_args().check
    if shutil.which("go") is None:
        print("gen: Go is not installed, so the Go client is neither generated nor compared")
        return 1 if os.environ.get("CI") else 0

    with tempfile.TemporaryDirectory(prefix="defter-go-") as folder:
        fresh = Path(folder)
        generate(fresh)
        stale = differences(fresh)
        if check:
            return report(fresh, stale)
        for relative in stale:
            install(fresh / relative, MODULE_ROOT / relative)
    print(f"gen: {len(stale)} file(s) changed under {MODULE_ROOT.relative_to(REPOSITORY)}")
    return 0


def generate(output: Path) -> None:
    """Run protoc with Go's plug-ins, write what the client has beside that, and format it.

    Raises:
        SystemExit: a program failed; its message is on stderr.
    """
    install_tools()
    _run(
        [
            str(generators_python()),
            "-m",
            "grpc_tools.protoc",
            f"--proto_path={PROTO_ROOT}",
            # Plug-ins are named by path: what else is installed must not matter.
            f"--plugin=protoc-gen-go={TOOLS_FOLDER / 'protoc-gen-go'}",
            f"--plugin=protoc-gen-go-grpc={TOOLS_FOLDER / 'protoc-gen-go-grpc'}",
            f"--go_out={output}",
            f"--go_opt=module={MODULE}",
            f"--go-grpc_out={output}",
            f"--go-grpc_opt=module={MODULE}",
            *(str(each.relative_to(PROTO_ROOT)) for each in sorted(PROTO_ROOT.rglob("*.proto"))),
        ]
    )
    package = output / "defter"
    package.mkdir()
    for name, text in generated().items():
        (package / name).write_text(text, encoding="utf-8")
    _run(["gofmt", "-w", str(package)])


def install_tools() -> None:
    """Build the plug-ins, and what checks the client, unless they are there.

    Raises:
        SystemExit: Go could not fetch or build them.
    """
    _run(["go", "install", "tool"], folder=TOOLS_MODULE, environment={"GOBIN": str(TOOLS_FOLDER)})


def differences(fresh: Path) -> list[Path]:
    """Return the files that a fresh generation adds, changes or removes, from the root of the module."""
    wanted, present = set(_files(fresh)), set(_files(MODULE_ROOT))
    return sorted(
        relative
        for relative in wanted | present
        if not (relative in wanted and relative in present)
        or (fresh / relative).read_bytes() != (MODULE_ROOT / relative).read_bytes()
    )


def report(fresh: Path, stale: list[Path]) -> int:
    """Print how the committed files differ; return the exit code."""
    for relative in stale:
        before, after = _lines(MODULE_ROOT / relative), _lines(fresh / relative)
        sys.stdout.writelines(
            difflib.unified_diff(before, after, f"committed/{relative}", f"fresh/{relative}")
        )
    if stale:
        print(f"gen: {len(stale)} stale file(s) under {MODULE_ROOT}: run `make gen` and commit them")
        return 1
    print("gen: the committed Go is what the protos generate")
    return 0


def install(source: Path, target: Path) -> None:
    """Put one generated file in place, or remove it when nothing generates it any more."""
    if not source.exists():
        target.unlink()
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _files(root: Path) -> Iterator[Path]:
    for found in (*(root / "gen").rglob("*.go"), *(root / "defter").glob("*_gen.go")):
        yield found.relative_to(root)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []


def _run(command: list[str], *, folder: Path = REPOSITORY, environment: dict[str, str] | None = None) -> None:
    finished = subprocess.run(
        command,
        check=False,
        capture_output=True,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        text=True,
    )
    if finished.returncode != 0:
        sys.exit(f"gen: {command[0]} failed\n{finished.stdout}{finished.stderr}")


if __name__ == "__main__":
    sys.exit(main())
