"""Own what is generated of the TypeScript client: clients/typescript/src/gen/**, from protos/**/*.proto.

Run by `make gen`; with --check it changes nothing and fails when what is committed is stale. Messages need
Node.js and the client's locked packages: without them the rest is generated and the reason told, but CI must
have them.
"""

from __future__ import annotations

import argparse
import difflib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.clients.node import CLIENT, REPOSITORY, NodeUnavailable, installed_client
from tools.clients.reasons import reasons
from tools.clients.typescript import currencies_source, errors_source, index_source
from tools.generate_stubs import PROTO_ROOT, folder_of, generators_python

GENERATED = CLIENT / "src" / "gen"
# The details of errors, which the protos don't import: they travel packed in a status.
_GOOGLE_PROTOS = ("google/rpc/status.proto", "google/rpc/error_details.proto")


def main() -> int:
    """Write the sources, or compare them with a fresh generation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="fail when what is committed differs from a fresh run"
    )
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory(prefix="defter-typescript-") as folder:
        fresh = Path(folder)
        protos = sorted(path.relative_to(PROTO_ROOT) for path in PROTO_ROOT.rglob("*.proto"))
        write_own(fresh, protos)
        whole = True
        try:
            write_messages(fresh, protos, installed_client() / "node_modules" / ".bin" / "protoc-gen-es")
        except NodeUnavailable as error:
            if os.environ.get("CI"):
                sys.exit(f"gen: CI must have Node.js: {error}")
            print(f"gen: TypeScript messages are left as they are: {error}")
            whole = False
        stale = differences(fresh, whole=whole)
        if check:
            return report(fresh, stale)
        for relative in stale:
            install(fresh / relative, GENERATED / relative)
    print(f"gen: {len(stale)} file(s) changed under {GENERATED.relative_to(REPOSITORY)}")
    return 0


def write_own(output: Path, protos: list[Path]) -> None:
    """Write what needs no Node.js: errors, currencies and the index."""
    for name, source in (
        ("errors.ts", errors_source(reasons())),
        ("currencies.ts", currencies_source()),
        ("index.ts", index_source(protos)),
    ):
        (output / name).write_text(source, encoding="utf-8")


def write_messages(output: Path, protos: list[Path], plugin: Path) -> None:
    """Run protoc with the plug-in for TypeScript.

    Raises:
        SystemExit: protoc refused a proto; its message is on stderr.
    """
    command = [
        str(generators_python()),
        "-m",
        "grpc_tools.protoc",  # finds google/protobuf by itself
        f"--proto_path={PROTO_ROOT}",
        f"--proto_path={folder_of('google.rpc').parent.parent}",
        f"--plugin=protoc-gen-es={plugin}",
        f"--es_out={output}",
        "--es_opt=target=ts,import_extension=js",
        *(path.as_posix() for path in protos),
        *_GOOGLE_PROTOS,
    ]
    finished = subprocess.run(command, check=False, capture_output=True, text=True)
    if finished.returncode != 0:
        sys.exit(f"gen: protoc failed\n{finished.stderr}")


def differences(fresh: Path, *, whole: bool) -> list[Path]:
    """Return the files that a fresh generation adds, changes or removes.

    Args:
        whole: whether messages were generated; without, those that are there are no difference.
    """
    wanted, present = _files(fresh), _files(GENERATED)
    return sorted(
        relative
        for relative in (wanted | present if whole else wanted)
        if not (relative in wanted and relative in present)
        or (fresh / relative).read_bytes() != (GENERATED / relative).read_bytes()
    )


def report(fresh: Path, stale: list[Path]) -> int:
    """Print how what is committed differs; return the exit code."""
    for relative in stale:
        sys.stdout.writelines(
            difflib.unified_diff(
                _lines(GENERATED / relative),
                _lines(fresh / relative),
                f"committed/{relative}",
                f"fresh/{relative}",
            )
        )
    if stale:
        print(f"gen: {len(stale)} stale file(s) under {GENERATED}: run `make gen` and commit them")
        return 1
    print("gen: the committed TypeScript is what the protos generate")
    return 0


def install(source: Path, target: Path) -> None:
    """Put one generated file in place, or remove it when nothing generates it any more."""
    if source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        return
    target.unlink()


def _files(root: Path) -> set[Path]:
    return {path.relative_to(root) for path in root.rglob("*.ts")}


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []


if __name__ == "__main__":
    sys.exit(main())
