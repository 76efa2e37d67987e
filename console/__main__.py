"""Owns the console as a process of its own: `python -m console`, with settings from the environment."""

import sys

from console.server import CantStart, run
from console.settings import ConsoleSettings
from http_process.starting import start


def main() -> int:
    """Run the console; an error that an operator can mend is one line."""
    return start(ConsoleSettings, run, cannot_start=CantStart)


if __name__ == "__main__":
    sys.exit(main())
