"""Own that a setting which can't be meant is refused at start, whoever reads it."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from ledger_server.process.settings import Settings
from webhook_edge.settings import EdgeSettings

SECONDS = [
    (settings, prefix, name)
    for settings, prefix in ((Settings, "DEFTER_"), (EdgeSettings, "DEFTER_EDGE_"))
    for name in settings.model_fields
    if name.endswith("_seconds")
]


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "0", "-1", "soon"])
@pytest.mark.parametrize(("settings", "prefix", "name"), SECONDS)
def test_time_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, settings: type[BaseSettings], prefix: str, name: str, value: str
) -> None:
    """An endless pause would fail where the first time is reckoned with it."""
    monkeypatch.setenv(prefix + name.upper(), value)

    with pytest.raises(ValidationError, match=name):
        settings()


@pytest.mark.parametrize("value", ["true", '"5"', "1e3", "1.0", "null", "[1]"])
@pytest.mark.parametrize("name", ["max_amounts", "extra_currencies"])
def test_number_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A bound of `true` would be one minor unit."""
    if (name, value) == ("extra_currencies", "null"):
        return
    monkeypatch.setenv(f"DEFTER_{name.upper()}", f'{{"EUR": {value}}}')

    with pytest.raises(ValidationError, match=name):
        Settings()


def test_deposit_hold_shorter_than_a_second_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its end would be over before it is begun."""
    monkeypatch.setenv("DEFTER_DEPOSIT_HOLD_SECONDS", "1e-9")

    with pytest.raises(ValidationError, match="deposit_hold_seconds"):
        Settings()
