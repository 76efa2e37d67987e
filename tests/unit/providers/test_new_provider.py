"""A provider or a webhook scheme that is known here is known wherever one has to be."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final, get_args

import pytest

from ledger_server.domain.reconciliation.settlement import ReportFormat
from ledger_server.providers.amounts import ProviderName
from ledger_server.providers.registry import _MAKERS
from tests.edge import test_sending, test_status_table, test_vectors
from tests.simulation.border import dialects
from tests.support import providers
from tests.unit.providers import test_amounts, test_key_forms
from webhook_edge import needed, options, schemes, secret_forms, sending

ROOT: Final = Path(__file__).resolve().parents[3]
ADAPTERS: Final = set(_MAKERS)
# Who must know each adapter, and what goes wrong otherwise.
KNOW_ADAPTERS: Final[dict[str, Collection[str]]] = {
    "providers/amounts.py: which decimal places it counts in": get_args(ProviderName),
    "tests/support/providers.py: the contract that all adapters keep": providers.NAMES,
    "tests/simulation/border/dialects.py: the simulation of the border": dialects.DIALECTS,
    "tests/unit/providers/test_amounts.py: amounts there and back": test_amounts.PROVIDERS,
    "tests/unit/providers/test_key_forms.py: keys that can't be right": test_key_forms.GOOD,
}
# Who must know each webhook scheme.
KNOW_SCHEMES: Final[dict[str, Collection[str]]] = {
    "webhook_edge/needed.py: the events that money depends on": needed._NEEDS,
    "webhook_edge/options.py: its options": options._OPTIONS,
    "webhook_edge/secret_forms.py: secrets that can't be right": secret_forms._CHECKS,
    "webhook_edge/sending.py: the sample that operators send": sending._MAKERS,
    "tests/edge/test_status_table.py: what its deliveries are answered": test_status_table.SCHEMES,
    "tests/edge/test_sending.py: its sample is taken": test_sending.SCHEMES,
    "tests/edge/test_vectors.py: vectors of its signature": test_vectors.SCHEMES.values(),
}
# An adapter's own scheme where it has another name than the adapter.
SCHEME_OF: Final = {"mock": "standard"}


@pytest.mark.parametrize("place", KNOW_ADAPTERS)
def test_each_adapter_is_known(place: str) -> None:
    """An adapter that can be configured is in each of the tables."""
    assert set(KNOW_ADAPTERS[place]) == ADAPTERS


@pytest.mark.parametrize("place", KNOW_SCHEMES)
def test_each_scheme_is_known(place: str) -> None:
    """A scheme that an endpoint may have is in each of the tables."""
    assert set(KNOW_SCHEMES[place]) == set(schemes._CLASSES)


def test_each_adapter_has_a_scheme() -> None:
    """A provider that is called and never heard of would leave all payments under way."""
    assert {SCHEME_OF.get(name, name) for name in ADAPTERS} == set(schemes._CLASSES)


@pytest.mark.parametrize("report_format", ReportFormat)
def test_each_report_format_is_of_an_adapter(report_format: ReportFormat) -> None:
    """Its name says whose file it is."""
    assert report_format.name.partition("_")[0].lower() in ADAPTERS


def test_operators_are_told_of_each_adapter_and_scheme() -> None:
    """The runbook names the adapters, and the page on webhooks the schemes."""
    operations = ROOT / "docs" / "operations"
    runbook, webhooks = (operations / "runbook.md").read_text(), (operations / "webhooks.md").read_text()

    assert {name for name in ADAPTERS if name not in runbook.lower()} == set()
    assert {name for name in schemes._CLASSES if name not in webhooks.lower()} == set()
