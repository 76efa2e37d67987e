"""Own the generated Python stubs: protos/**/*.proto become clients/python/defter/**.

Run by `make gen`; with --check it changes nothing and fails when the committed stubs are stale.
"""

import argparse
import difflib
import shutil
import subprocess
import sys
import tempfile
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PROTO_ROOT = REPOSITORY / "protos"
STUB_ROOT = REPOSITORY / "clients" / "python"
# Everything below this package is generated, so that a deleted proto takes its stubs with it.
GENERATED_PACKAGE = "defter"


def main() -> int:
    """Write the stubs, or compare them with a fresh generation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="fail when the committed stubs differ from a fresh run"
    )
    check = parser.parse_args().check

    with tempfile.TemporaryDirectory(prefix="defter-stubs-") as folder:
        fresh = Path(folder)
        generate(fresh)
        stale = differences(fresh)
        if check:
            return report(fresh, stale)
        for relative in stale:
            install(fresh / relative, STUB_ROOT / relative)
    print(f"gen: {len(stale)} file(s) changed under {STUB_ROOT.relative_to(REPOSITORY)}")
    return 0


def generators_python() -> Path:
    """Return the Python of the environment with the generators, which the Makefile makes.

    Raises:
        SystemExit: it is not there.
    """
    found = REPOSITORY / ".cache" / "generators" / "bin" / "python"
    if not found.exists():
        sys.exit("gen: the generators are not installed; run `make gen` or `make lint`")
    return found


def generate(output: Path) -> None:
    """Run protoc with the Python, gRPC and mypy plug-ins, and complete the packages.

    Raises:
        SystemExit: there is no proto file, or protoc refused one; its message is on stderr.
    """
    protos = sorted(PROTO_ROOT.rglob("*.proto"))
    if not protos:
        sys.exit(f"gen: no .proto file under {PROTO_ROOT}")
    # google/rpc and google/api stand beside google/rpc's Python modules; both ship in one wheel.
    googleapis = folder_of("google.rpc").parent.parent
    command = [
        str(generators_python()),
        "-m",
        "grpc_tools.protoc",  # finds google/protobuf by itself
        f"--proto_path={PROTO_ROOT}",
        f"--proto_path={googleapis}",
        f"--python_out={output}",
        f"--grpc_python_out={output}",
        f"--mypy_out={output}",
        f"--mypy_grpc_out={output}",
        # The plug-ins are named by path: whether the venv is activated must not matter.
        f"--plugin=protoc-gen-mypy={_script('protoc-gen-mypy')}",
        f"--plugin=protoc-gen-mypy_grpc={_script('protoc-gen-mypy_grpc')}",
        *(str(proto.relative_to(PROTO_ROOT)) for proto in protos),
    ]
    finished = subprocess.run(command, check=False, capture_output=True, text=True)
    if finished.returncode != 0:
        sys.exit(f"gen: protoc failed\n{finished.stderr}")
    # The mypy plug-in lists every file it writes; only what is not such a line is a warning.
    for line in finished.stderr.splitlines():
        if not line.startswith("Writing mypy to "):
            print(line, file=sys.stderr)
    _complete_packages(output / GENERATED_PACKAGE)


def differences(fresh: Path) -> list[Path]:
    """Return the files that a fresh generation adds, changes or removes, from the stub root."""
    wanted = _files(fresh)
    present = _files(STUB_ROOT)
    return sorted(
        relative
        for relative in wanted | present
        if not (relative in wanted and relative in present)
        or (fresh / relative).read_bytes() != (STUB_ROOT / relative).read_bytes()
    )


def report(fresh: Path, stale: list[Path]) -> int:
    """Print how the committed stubs differ; return the exit code."""
    for relative in stale:
        committed = _lines(STUB_ROOT / relative)
        expected = _lines(fresh / relative)
        sys.stdout.writelines(
            difflib.unified_diff(committed, expected, f"committed/{relative}", f"fresh/{relative}")
        )
    if stale:
        print(f"gen: {len(stale)} stale file(s) under {STUB_ROOT}: run `make gen` and commit them")
        return 1
    print("gen: the committed stubs are what the protos generate")
    return 0


def install(source: Path, target: Path) -> None:
    """Put one generated file in place, or remove it when nothing generates it any more."""
    if source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        return
    target.unlink()
    if not any(target.parent.iterdir()):
        target.parent.rmdir()


def _complete_packages(root: Path) -> None:
    """Give every generated folder an `__init__.py`, and the package its typing marker."""
    (root / "py.typed").touch()
    for folder in (root, *(path for path in sorted(root.rglob("*")) if path.is_dir())):
        dotted = ".".join(folder.relative_to(root.parent).parts)
        (folder / "__init__.py").write_text(
            f'"""Own the stubs of the proto package {dotted}; generated, do not edit."""\n',
            encoding="utf-8",
        )


def _files(root: Path) -> set[Path]:
    package = root / GENERATED_PACKAGE
    return {
        path.relative_to(root)
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []


def folder_of(module: str) -> Path:
    """Return the folder of an installed module.

    Raises:
        SystemExit: it is not installed.
    """
    spec = find_spec(module)
    if spec is None:
        sys.exit(f"gen: {module} is not installed; run `make .venv`")
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    origin = import_module(module).__file__
    assert origin is not None, f"{module} has no file"
    return Path(origin).parent


def _script(name: str) -> Path:
    return Path(sys.executable).with_name(name)


if __name__ == "__main__":
    sys.exit(main())
