"""Own the generated dashboards: tools/dashboards/ becomes deploy/grafana/*.json.

Run by `make gen`; with --check it changes nothing and fails when the committed dashboards are stale.
"""

import argparse
import difflib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from tools.dashboards.capacity import CAPACITY
from tools.dashboards.duty import DUTY
from tools.dashboards.edge import EDGE
from tools.dashboards.panels import dashboard_of

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDER = REPOSITORY / "deploy" / "grafana"
BOARDS: Final = (DUTY, EDGE, CAPACITY)


def main() -> int:
    """Write the dashboards, or compare them with a fresh generation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="fail when the committed dashboards differ from a fresh run"
    )
    check = parser.parse_args().check

    fresh, committed = generate(), _committed()
    stale = sorted(name for name in fresh | committed if fresh.get(name) != committed.get(name))
    if check:
        return report(fresh, committed, stale)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in stale:
        if name in fresh:
            (FOLDER / name).write_text(fresh[name], encoding="utf-8")
        else:
            (FOLDER / name).unlink()
    print(f"gen: {len(stale)} file(s) changed under {FOLDER.relative_to(REPOSITORY)}")
    return 0


def generate() -> dict[str, str]:
    """Return the text of each dashboard by the name of its file."""
    return {
        f"{board.name}.json": json.dumps(
            dashboard_of(board).build(), cls=JSONEncoder, indent=2, sort_keys=True
        )
        + "\n"
        for board in BOARDS
    }


def report(fresh: Mapping[str, str], committed: Mapping[str, str], stale: list[str]) -> int:
    """Print how the committed dashboards differ; return the exit code."""
    for name in stale:
        sys.stdout.writelines(
            difflib.unified_diff(
                committed.get(name, "").splitlines(keepends=True),
                fresh.get(name, "").splitlines(keepends=True),
                f"committed/{name}",
                f"fresh/{name}",
            )
        )
    if stale:
        print(f"gen: {len(stale)} stale dashboard(s) under {FOLDER}: run `make gen` and commit them")
        return 1
    print("gen: the committed dashboards are what tools/dashboards generates")
    return 0


def _committed() -> dict[str, str]:
    return {file.name: file.read_text(encoding="utf-8") for file in FOLDER.glob("*.json")}


if __name__ == "__main__":
    sys.exit(main())
