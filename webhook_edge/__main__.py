"""Owns the edge as a process of its own: `python -m webhook_edge`, with settings from the environment."""

import sys

from http_process.starting import start
from webhook_edge.configuration import ConfigurationError
from webhook_edge.server import run
from webhook_edge.settings import EdgeSettings


def main() -> int:
    """Run the edge; an error that an operator can mend is one line."""
    return start(EdgeSettings, run, cannot_start=ConfigurationError)


if __name__ == "__main__":
    sys.exit(main())
