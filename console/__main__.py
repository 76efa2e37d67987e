"""Owns the console as a process of its own: `python -m console`, with settings from the environment."""

import sys

import uvloop
from pydantic import ValidationError

from console.logs import configure_logs
from console.server import CantStart, run
from console.settings import ConsoleSettings


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
    configure_logs(json=settings.log_json, level=settings.log_level)
    try:
        uvloop.run(run(settings))
    except (CantStart, OSError) as error:
        sys.stderr.write(f"can't start: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
