"""Own a provider inside the test's process: it uses the minor units of ISO 4217 and answers at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from iso4217 import Currency

from ledger_server.providers.adapter import (
    Accepted,
    Adapter,
    Answer,
    Capabilities,
    NotFound,
    ProviderCall,
    ProviderCallKind,
    ProviderRecordPage,
    Unknown,
    Unsent,
)
from ledger_server.providers.sending import Proof, Unproven

PROVIDER: Final = "mock"
SILENT_PROVIDER: Final = "mock-silent"
LARGEST_AMOUNT: Final = 10**12
_CURRENCIES: Final = frozenset(currency.code for currency in Currency)


class FakeAdapter:
    """Takes every call on, or never answers one (`silent`)."""

    def __init__(self, *, silent: bool = False) -> None:
        self._silent = silent

    @property
    def capabilities(self) -> Capabilities:
        """It can do everything, and never forgets a key."""
        return Capabilities(
            payments=True, payouts=True, refunds=True, listed=frozenset(), idempotency_seconds=1e9
        )

    def to_provider(self, amount: int, currency: str, kind: ProviderCallKind) -> int:
        """Return the same amount; payouts are of whole hundreds."""
        if kind is ProviderCallKind.CREATE_PAYOUT and amount % 100:
            raise ValueError("payouts are of whole hundreds")
        return self.from_provider(amount, currency)

    def from_provider(self, amount: int, currency: str) -> int:
        """Return the same amount."""
        if currency not in _CURRENCIES:
            raise ValueError(f"{currency} is not known here")
        if abs(amount) > LARGEST_AMOUNT:
            raise ValueError("that is too much")
        return amount

    async def call(self, call: ProviderCall, proof: Proof) -> Answer:
        """Take the call on, if its proof holds."""
        if self._silent:
            return Unknown(reason="silence")
        try:
            await proof.ask()
            proof.check()
        except Unproven as error:
            return Unsent(reason=str(error))
        return Accepted(provider_ref=f"at-{call.our_id}")

    async def find(self, call: ProviderCall, provider_ref: str) -> Accepted | NotFound | Unknown:
        """Find what was taken on, still under way."""
        if self._silent:
            return Unknown(reason="silence")
        return Accepted(provider_ref=provider_ref or f"at-{call.our_id}")

    async def list_provider_records(self, *_: object) -> ProviderRecordPage:
        """List nothing."""
        return ProviderRecordPage(records=[], next_cursor="")

    async def close(self) -> None:
        """Let go of nothing."""


def fake_providers() -> Mapping[str, Adapter]:
    """Return an adapter that answers and one that doesn't."""
    return {PROVIDER: FakeAdapter(), SILENT_PROVIDER: FakeAdapter(silent=True)}
