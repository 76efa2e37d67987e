"""Owns the settings that all these processes have, and how settings are read from the environment."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class ProcessSettings(BaseSettings):
    """How a process logs; a subclass names the prefix of its variables."""

    # An empty variable counts as not set.
    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
        # Infinite seconds make no sense as a pause.
        allow_inf_nan=False,
    )

    log_json: Annotated[bool, Field(description="log lines as JSON instead of for reading")] = False
    log_level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"],
        BeforeValidator(lambda text: str(text).lower()),
        Field(description="least severe level that is logged"),
    ] = "info"
