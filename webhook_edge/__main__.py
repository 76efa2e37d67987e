"""Owns the edge as a process of its own: `python -m webhook_edge`, with settings from the environment."""

import sys

import uvloop
from pydantic import ValidationError

from webhook_edge.configuration import ConfigurationError
from webhook_edge.logs import configure_logs
from webhook_edge.server import run
from webhook_edge.settings import EdgeSettings


def main() -> int:
    """Run the edge; what an operator can mend is said in a line."""
    try:
        settings = EdgeSettings()
    except ValidationError as error:
        for problem in error.errors():
            sys.stderr.write(f"DEFTER_EDGE_{str(problem['loc'][0]).upper()}: {problem['msg']}\n")
        return 2
    configure_logs(json=settings.log_json, level=settings.log_level)
    try:
        uvloop.run(run(settings))
    except (ConfigurationError, OSError) as error:
        sys.stderr.write(f"can't start: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
