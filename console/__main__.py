"""Owns the console as a process of its own: `python -m console`, with settings from the environment."""

import difflib
import os
import sys
from typing import Final

import structlog
import uvloop
from pydantic import ValidationError

from console.logs import configure_logs
from console.server import CantStart, run
from console.settings import ConsoleSettings

log = structlog.get_logger()

_PREFIX: Final = "DEFTER_CONSOLE_"
_NAMES: Final = frozenset(f"{_PREFIX}{name.upper()}" for name in ConsoleSettings.model_fields)


def main() -> int:
    """Run the console; an error that an operator can mend is one line."""
    try:
        settings = ConsoleSettings()
    except ValidationError as error:
        for problem in error.errors():
            if not problem["loc"]:
                sys.stderr.write(f"{problem['msg'].removeprefix('Value error, ')}\n")
                continue
            name = str(problem["loc"][0])
            wanted = ConsoleSettings.model_fields[name].description
            sys.stderr.write(f"DEFTER_CONSOLE_{name.upper()}: {problem['msg']}; wanted: {wanted}\n")
        return 2
    unread = sorted(name for name in os.environ if name.startswith(_PREFIX) and name not in _NAMES)
    meant = {name: difflib.get_close_matches(name, _NAMES, 1, 0.9) for name in unread}
    for name, [known] in [(name, close) for name, close in meant.items() if close]:
        sys.stderr.write(f"{name}: there is no such setting; {known} is meant\n")
    if any(meant.values()):
        return 2
    configure_logs(json=settings.log_json, level=settings.log_level)
    for name in unread:
        log.warning("there is no such setting", name=name)
    try:
        uvloop.run(run(settings))
    except (CantStart, OSError) as error:
        sys.stderr.write(f"can't start: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
