"""Own the optional profile of the server while a line runs, by py-spy."""

import asyncio
import contextlib
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

SAMPLES_PER_SECOND = 200


def find_py_spy() -> Path | None:
    """Return py-spy from beside this Python or from the path, None where there is none."""
    beside = Path(sys.executable).with_name("py-spy")
    if beside.exists():
        return beside
    found = shutil.which("py-spy")
    return Path(found) if found else None


@asynccontextmanager
async def profiled(py_spy: Path, process: int, *, output: Path, seconds: float) -> AsyncIterator[None]:
    """Record the process for so many seconds from now, as a file for speedscope.app.

    Sampling stops the process for a moment each time, so the line is slower than it would be.
    """
    recorder = await asyncio.create_subprocess_exec(
        str(py_spy),
        "record",
        f"--pid={process}",
        f"--duration={max(1, round(seconds))}",
        f"--rate={SAMPLES_PER_SECOND}",
        "--format=speedscope",
        f"--output={output}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds + 30):
                _, complaints = await recorder.communicate()
        if recorder.returncode is None:
            recorder.kill()
            await recorder.wait()
        elif recorder.returncode != 0:
            print(f"py-spy: {complaints.decode(errors='replace').strip()}", file=sys.stderr)
