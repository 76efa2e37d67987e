"""Owns the edge as a process of its own: `python -m webhook_edge`, with settings from the environment."""

import os
import sys
from typing import Final

import structlog
import uvloop
from pydantic import ValidationError

from webhook_edge.configuration import ConfigurationError
from webhook_edge.logs import configure_logs
from webhook_edge.server import run
from webhook_edge.setting_names import unknown_settings
from webhook_edge.settings import EdgeSettings

log = structlog.get_logger()

_PREFIX: Final = "DEFTER_EDGE_"
_NAMES: Final = frozenset(f"{_PREFIX}{name.upper()}" for name in EdgeSettings.model_fields)


def main() -> int:
    """Run the edge; an error that an operator can mend is one line."""
    try:
        settings = EdgeSettings()
    except ValidationError as error:
        for problem in error.errors():
            name = str(problem["loc"][0])
            wanted = EdgeSettings.model_fields[name].description
            sys.stderr.write(f"DEFTER_EDGE_{name.upper()}: {problem['msg']}; wanted: {wanted}\n")
        return 2
    unread = unknown_settings(os.environ, _NAMES)
    misspelt = [each for each in unread if each.meant]
    for each in misspelt:
        sys.stderr.write(f"{each}\n")
    if misspelt:
        return 2
    configure_logs(json=settings.log_json, level=settings.log_level)
    for each in unread:
        if each.name.startswith(_PREFIX):  # the other settings are for other processes
            log.warning(str(each))
    try:
        uvloop.run(run(settings))
    except (ConfigurationError, OSError) as error:
        sys.stderr.write(f"can't start: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
