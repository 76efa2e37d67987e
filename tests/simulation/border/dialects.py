"""Own the list of dialects of the simulated provider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tests.simulation.border.adyen_dialect import AdyenDialect
from tests.simulation.border.dialect import Dialect
from tests.simulation.border.mock_dialect import MockDialect
from tests.simulation.border.stripe_dialect import StripeDialect

DIALECTS: Final[Mapping[str, type[Dialect]]] = {
    "mock": MockDialect,
    "stripe": StripeDialect,
    "adyen": AdyenDialect,
}
NAMES: Final = tuple(DIALECTS)
