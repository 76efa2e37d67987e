"""Own that a misspelt setting is named, and that what belongs to others is not refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.settings import ConsoleSettings
from http_process.setting_names import Unknown, unknown_settings
from ledger_server.process.settings import Settings
from webhook_edge.settings import EdgeSettings

KNOWN = frozenset(
    {
        *(f"DEFTER_{name.upper()}" for name in Settings.model_fields),
        *(f"DEFTER_EDGE_{name.upper()}" for name in EdgeSettings.model_fields),
        *(f"DEFTER_CONSOLE_{name.upper()}" for name in ConsoleSettings.model_fields),
        "DEFTER_SERVER",
        "DEFTER_TENANT",
    }
)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("DEFTER_PROVIDER_FILE", "DEFTER_PROVIDERS_FILE"),
        ("DEFTER_PROVIDERS_FIEL", "DEFTER_PROVIDERS_FILE"),
        ("DEFTER_PROVIDERS", "DEFTER_PROVIDERS_FILE"),
        ("DEFTER_DATABASE_URI", "DEFTER_DATABASE_URL"),
        ("DEFTER_DATABASEURL", "DEFTER_DATABASE_URL"),
        ("DEFTER_EXTRA_CURRENCY", None),
        ("DEFTER_EXTRA_CURENCIES", "DEFTER_EXTRA_CURRENCIES"),
        ("DEFTER_EGDE_PORT", "DEFTER_EDGE_PORT"),
        ("DEFTER_PROT", "DEFTER_PORT"),
        ("DEFTER_TENNANT", "DEFTER_TENANT"),
        ("defter_providers_file", "DEFTER_PROVIDERS_FILE"),
    ],
)
def test_misspelt_setting_is_named_with_what_is_meant(name: str, meant: str | None) -> None:
    """Nobody would notice that a file of providers is not read."""
    assert unknown_settings([name], KNOWN) == [Unknown(name, meant)]


@pytest.mark.parametrize(
    "name",
    ["DEFTER_SERVICE_HOST", "DEFTER_SERVICE_PORT", "DEFTER_PORT_50051_TCP", "DEFTER_STRIPE_KEY", "DEFTER_"],
)
def test_foreign_variable_is_told_and_not_refused(name: str) -> None:
    """What runs the process, a newer version, or a secret of an operator's own naming may be there."""
    assert unknown_settings([name], KNOWN) == [Unknown(name, None)]


def test_known_and_unrelated_variables_are_passed_over() -> None:
    """All settings of one environment may be there together."""
    assert (
        unknown_settings([*KNOWN, "PATH", "DEFT", "DEFTER_TEST_SEED"], KNOWN, foreign=("DEFTER_TEST_",)) == []
    )


@given(name=st.sampled_from(sorted(KNOWN)), data=st.data())
def test_one_slip_in_any_setting_is_caught(name: str, data: st.DataObject) -> None:
    """A letter that is missing, doubled, wrong or exchanged, wherever it is."""
    at = data.draw(st.integers(len("DEFTER_"), len(name) - 1))
    slips = {
        "missing": name[:at] + name[at + 1 :],
        "doubled": name[:at] + name[at] + name[at:],
        "wrong": name[:at] + "7" + name[at + 1 :],
        "exchanged": name[: at - 1] + name[at] + name[at - 1] + name[at + 1 :]
        if at > len("DEFTER_")
        else name,
    }
    misspelt = data.draw(st.sampled_from(sorted(slips.values())))
    if misspelt in KNOWN:
        return

    [found] = unknown_settings([misspelt], KNOWN)

    assert found.meant is not None
