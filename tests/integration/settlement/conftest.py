"""Own what the tests of settlements share."""

from __future__ import annotations

import pytest

from tests.support.ledger import Ledger
from tests.support.settlement import Rows, Settler


@pytest.fixture
def settler(ledger: Ledger) -> Settler:
    """The settlements of the tenant."""
    return Settler(ledger)


@pytest.fixture
def rows(database_url: str) -> Rows:
    """The tables."""
    return Rows(database_url)
