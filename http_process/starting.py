"""Owns the start of a process by its settings: an error that an operator can mend is one line."""

import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import structlog
import uvloop
from pydantic import ValidationError

from http_process.logs import configure_logs
from http_process.setting_names import unknown_settings
from http_process.settings import ProcessSettings

log = structlog.get_logger()

_WRONG_SETTINGS: Final = 2
_CANNOT_START: Final = 1
_Settings = TypeVar("_Settings", bound=ProcessSettings)


def start(
    read: type[_Settings],
    run: Callable[[_Settings], Coroutine[Any, Any, None]],
    *,
    cannot_start: type[Exception],
) -> int:
    """Read the settings of a process and run it; return its exit code.

    Args:
        cannot_start: what `run` raises for what an operator can mend; its text names the setting.
    """
    prefix = read.model_config["env_prefix"]
    try:
        settings = read()
    except ValidationError as error:
        for problem in error.errors():
            sys.stderr.write(f"{_told(read, prefix, problem)}\n")
        return _WRONG_SETTINGS
    unread = unknown_settings(os.environ, {f"{prefix}{name.upper()}" for name in read.model_fields})
    misspelt = [each for each in unread if each.meant]
    for each in misspelt:
        sys.stderr.write(f"{each}\n")
    if misspelt:
        return _WRONG_SETTINGS
    configure_logs(json=settings.log_json, level=settings.log_level)
    for each in unread:
        if each.name.startswith(prefix):  # the other settings are for other processes
            log.warning(str(each))
    try:
        uvloop.run(run(settings))
    except (cannot_start, OSError) as error:
        sys.stderr.write(f"can't start: {error}\n")
        return _CANNOT_START
    return 0


def _told(read: type[ProcessSettings], prefix: str, problem: Any) -> str:
    if not problem["loc"]:  # settings that don't go together, whose text names them
        return str(problem["msg"]).removeprefix("Value error, ")
    name = str(problem["loc"][0])
    return f"{prefix}{name.upper()}: {problem['msg']}; wanted: {read.model_fields[name].description}"
