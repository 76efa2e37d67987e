"""Own the summary that tells how many sequences of each script were run."""

from __future__ import annotations

from _pytest.terminal import TerminalReporter


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print, for each script, how many sequences were run of how many."""
    rows = [
        value
        for report in terminalreporter.stats.get("passed", [])
        for name, value in getattr(report, "user_properties", [])
        if name == "sequences"
    ]
    if not rows:
        return
    terminalreporter.section("sequences of payment events")
    for name, full_count, run_count in rows:
        terminalreporter.write_line(f"{run_count:>8,} of {full_count:>9,}  {name}")
    terminalreporter.write_line(f"{sum(row[2] for row in rows):>8,} in all")
