"""Removes one line of the codec or of the store at a time, and looks whether anything turns red.

Each mutant is a fork of this process, which has imported everything but the code under test, and runs the
tests that are named for its file. What stays green is a line that nobody would miss: it is printed, and the
exit code is 1. Lines whose removal does not compile, imports, docstrings and comments are passed over: the
compiler and the linter see those. `ALLOWED` has the lines that may go, each with the reason.

    make mutate                                    # everything, a few seconds a line
    make mutate ARGS="engine/records/deposits.py"   # one file
    make mutate ARGS="--every 20"                  # every twentieth line, which takes a minute or two
"""

import argparse
import ast
import importlib.abc
import importlib.util
import io
import itertools
import os
import resource
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent
SERVER: Final = ROOT / "ledger_server"
FIELDS: Final = ("tests/unit/test_every_field.py", "tests/unit/test_additions.py")
FILES: Final[Mapping[str, tuple[str, ...]]] = {
    "engine/records/journal.py": (*FIELDS, "tests/unit/test_records.py", "tests/unit/test_replay.py"),
    "engine/records/deposits.py": FIELDS,
    "engine/records/withdrawals.py": FIELDS,
    "engine/records/adjustments.py": FIELDS,
    "engine/records/events.py": FIELDS,
    "engine/records/payment_parts.py": FIELDS,
    "engine/records/payments.py": FIELDS,
    "engine/records/findings.py": FIELDS,
    "engine/records/settlements.py": FIELDS,
    "engine/records/sealing.py": ("tests/unit/test_sealing.py",),
    "engine/records/times.py": FIELDS,
    "engine/records/wire_format.py": ("tests/unit/test_records.py",),
    "engine/records/entries.py": ("tests/unit/test_records.py",),
    "store/ledger_rows.py": FIELDS,
    "store/payment_rows.py": FIELDS,
    "store/adjustment_rows.py": FIELDS,
    "store/finding_rows.py": FIELDS,
}
ALLOWED: Final[Mapping[tuple[str, str], str]] = {
    (
        "engine/records/journal.py",
        '__slots__ = ("_dated", "_ids", "_now", "_opened", "_tenant", "_tenant_id", "_time_field")',
    ): "it only takes less memory",
    ("engine/records/journal.py", "self._now = record_time"): "then the same bytes are made for each record",
    (
        "engine/records/journal.py",
        'assert name is not None, "every record says something"',
    ): "it tells the type checker what is so",
    ("engine/records/settlements.py", "*,"): "it only says how a function is called",
    ("engine/records/sealing.py", "*,"): "the same",
    ("engine/records/journal.py", "*,"): "the same",
    ("engine/records/journal.py", "@lru_cache(maxsize=4_096)"): "it only takes less time",
    ("engine/records/journal.py", "self._opened[account.currency] = known"): "the same",
    ("engine/records/wire_format.py", "if number < 0x200000:"): "the same: the loop makes these bytes too",
    (
        "engine/records/journal.py",
        "case TransactionPosted(transaction=transaction, lines=lines):",
    ): "the type checker asks for it; `encode` has dealt with it before",
    (
        "store/payment_rows.py",
        "case WithdrawalPolicySet():",
    ): "the type checker asks for it; no row is written",
}
"""Lines that may go, by file and text, with the reason."""

SECONDS: Final = 600
MEMORY_BYTES: Final = 2**30
"""A loop that lost its end may fill a list; the tests take a tenth of it."""
_RED, _GREEN = 0, 1
_OPTIONS: Final = ("-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--noconftest")


class Mutant(NamedTuple):
    """One file without one line."""

    file: str
    line: int
    text: str
    source: str


class Replaced(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a source of ours."""

    def __init__(self, mutant: Mutant) -> None:
        self._name = "ledger_server." + mutant.file.removesuffix(".py").replace("/", ".")
        self._path = str(SERVER / mutant.file)
        self._source = mutant.source

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Say that the module is here."""
        del path, target
        return importlib.util.spec_from_loader(name, self, origin=self._path) if name == self._name else None

    def exec_module(self, module: ModuleType) -> None:
        """Run the mutated source as the module."""
        exec(compile(self._source, self._path, "exec"), module.__dict__)  # noqa: S102  # it is our own code


def mutants(file: str) -> Iterator[Mutant]:
    """Yield the file without one line, for each line that says something and may go alone."""
    text = (SERVER / file).read_text()
    lines = text.splitlines(keepends=True)
    passed_over = _passed_over(ast.parse(text))
    for number, line in enumerate(lines, 1):
        said = line.strip()
        if not said or said.startswith("#") or number in passed_over or (file, said) in ALLOWED:
            continue
        source = "".join(lines[: number - 1] + lines[number:])
        try:
            compile(source, file, "exec")
        except SyntaxError:
            continue
        yield Mutant(file, number, said, source)


def _passed_over(tree: ast.Module) -> set[int]:
    """Return the lines of imports and docstrings."""
    passed: set[int] = set()
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, ast.Import | ast.ImportFrom) or is_text:
            assert isinstance(node, ast.stmt)
            passed.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return passed


def outcomes(wanted: Sequence[Mutant], jobs: int) -> Iterator[tuple[Mutant, bool]]:
    """Run the tests on each mutant in a process of its own; yield whether something turned red."""
    waiting = iter(wanted)
    running: dict[int, Mutant] = {}
    while True:
        for mutant in itertools.islice(waiting, jobs - len(running)):
            child = os.fork()
            if not child:
                os._exit(_RED if _fails(mutant) else _GREEN)
            running[child] = mutant
        if not running:
            return
        child, status = os.wait()
        # A mutant that never ends, or that kills its process, was found out as well.
        yield running.pop(child), not os.WIFEXITED(status) or os.WEXITSTATUS(status) == _RED


def _fails(mutant: Mutant) -> bool:
    import pytest  # noqa: PLC0415  # it is there already: see `main`

    signal.alarm(SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    sys.meta_path.insert(0, Replaced(mutant))
    tests = [str(ROOT / test) for test in FILES[mutant.file]]
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        try:
            red = bool(pytest.main([*_OPTIONS, *tests]))
        except BaseException as error:  # noqa: BLE001  # whatever it is, it is not green
            said.write(repr(error))
            red = True
    if red and not mutant.line:
        print(said.getvalue(), flush=True)
    return red


def main() -> int:
    """Try the mutants that are asked for; print those that stay green."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "files", nargs="*", default=list(FILES), metavar="FILE", help="as engine/records/journal.py"
    )
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th line")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="leave out the first N lines")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="at a time")
    asked = parser.parse_args()
    os.environ["DEFTER_TEST_EXAMPLES"] = "1"
    # What every mutant needs and none changes is imported once.
    for module in (
        "pytest",
        "grpc",
        "asyncpg",
        "sqlalchemy",
        "alembic",
        "msgspec",
    ):
        importlib.import_module(module)
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    # Tests that are red by themselves would find every mutant.
    whole = [Mutant(file, 0, "", (SERVER / file).read_text()) for file in asked.files]
    broken = [mutant.file for mutant, red in outcomes(whole, asked.jobs) if red]
    if broken:
        print(f"the tests of {', '.join(sorted(broken))} are red already")
        return 2
    wanted = [mutant for file in asked.files for mutant in mutants(file)][asked.first :: asked.every]
    survivors = 0
    for mutant, red in outcomes(wanted, asked.jobs):
        if not red:
            survivors += 1
            print(f"ledger_server/{mutant.file}:{mutant.line}: nobody misses `{mutant.text}`", flush=True)
    print(f"{len(wanted)} lines removed one at a time, {survivors} of them missed by nobody")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
