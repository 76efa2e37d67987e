"""Own how tests run many commands of `defter`: their code is loaded once, and forks give each a process.

A command spends four fifths of its time on loading code. Each command is a process all the same, with its own
words, environment, folder, streams, signals and exit code; what it takes to load the code itself is tested by
those that start `defter` as it is installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.service import DEFTER

FORKING = Path(__file__).with_name("preloaded_forking.py")
CALLING = Path(__file__).with_name("preloaded_calling.py")


@contextmanager
def preloaded_defter() -> Iterator[tuple[str, ...]]:
    """Yield the words that run a command in the place of `defter`."""
    if not hasattr(os, "pidfd_open"):  # elsewhere than on Linux
        yield (str(DEFTER),)
        return
    with tempfile.TemporaryDirectory(prefix="defter-commands-") as folder:
        place = str(Path(folder) / "socket")
        # It ends when its standard input does, and so also with a killed run of the tests.
        with subprocess.Popen(
            [sys.executable, FORKING, place], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            # Without site and the environment's words to Python it starts in a fiftieth of a second.
            yield (sys.executable, "-I", "-S", str(CALLING), place)
