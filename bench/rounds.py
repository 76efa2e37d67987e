"""Own the order of a run: lines by turns, round after round, because the machine drifts."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.lines import Line
from bench.measure import RAMP_SECONDS, Window
from bench.profiling import profiled

Windows = Mapping[str, Sequence[Window]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a run is cut up.

    Attributes:
        seconds: per line, all rounds together.
        profiles: folder for one profile of the server for each line; None profiles nothing.
    """

    seconds: float
    rounds: int
    py_spy: Path | None = None
    profiles: Path | None = None


async def run_rounds(
    lines: Sequence[Line], plan: Plan, *, on_window: Callable[[Line, int, Window | None], None]
) -> Windows:
    """Measure every line once a round, then those that run but once; report as it goes.

    `on_window` is told of each line, with its round, when it begins (None) and when it has ended.
    """
    windows: dict[str, list[Window]] = {line.name: [] for line in lines}
    turns = [(number, line) for number in range(plan.rounds) for line in lines if not line.once] + [
        (0, line) for line in lines if line.once
    ]
    for number, line in turns:
        on_window(line, number, None)
        window = await _measure(line, plan, is_first=number == 0)
        windows[line.name].append(window)
        on_window(line, number, window)
    return windows


async def _measure(line: Line, plan: Plan, *, is_first: bool) -> Window:
    seconds = plan.seconds / plan.rounds
    async with contextlib.AsyncExitStack() as around:
        if is_first and plan.py_spy and plan.profiles and line.server is not None:
            output = plan.profiles / f"{line.name}.speedscope.json"
            await around.enter_async_context(
                profiled(plan.py_spy, line.server, output=output, seconds=seconds + RAMP_SECONDS)
            )
        return await line.run(seconds)
