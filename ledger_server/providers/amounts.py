"""Owns the conversion of amounts between the ledger and each provider, and the amounts that have none.

The ledger's exponents are passed in. A provider's exponents are those of ISO 4217, except for `_DIFFERENCES`.
Nothing is ever rounded: an amount that does not convert exactly is refused by name.
"""

from typing import Final, Literal, assert_never

from iso4217 import Currency
from msgspec import Struct

from ledger_server.domain.ledger.currency import CurrencyRegistry
from ledger_server.providers.adapter import ProviderCallKind

ProviderName = Literal["mock", "stripe", "adyen"]
Flow = Literal["charge", "payout"]

_MAX_AMOUNT: Final = 2**63 - 1


class AmountRefused(ValueError):
    """An amount that a provider cannot take, with what it was."""

    def __init__(self, provider: str, currency: str, amount: int, rule: str) -> None:
        super().__init__(f"{provider}: {amount} minor units of {currency}: {rule}")
        self.provider = provider
        self.currency = currency
        self.amount = amount


class CurrencyUnsupported(AmountRefused):
    """The provider does not know the currency, or its minor unit of the currency is not certain."""


class NotRepresentable(AmountRefused):
    """The amount has no exact value on the other side, or is one that the provider does not take."""


class CurrencyRule(Struct, frozen=True, kw_only=True):
    """A provider's rule for a currency.

    Attributes:
        decimals: decimal places of its minor unit; None for those of ISO 4217.
        multiple_of: what an amount sent must be divisible by, in the provider's minor units.
        max_digits: of an amount sent; None for no limit but int64.
        refused: why the currency is not offered at all; empty if it is.
    """

    decimals: int | None = None
    multiple_of: int = 1
    max_digits: int | None = None
    refused: str = ""


_ISO: Final = CurrencyRule()
_STRIPE: Final = CurrencyRule(max_digits=8)
_WHOLE: Final = CurrencyRule(decimals=0, max_digits=8)
_LONG: Final = CurrencyRule(decimals=2, max_digits=12)
_TENS: Final = CurrencyRule(decimals=3, multiple_of=10, max_digits=8)
_HUNDREDS: Final = CurrencyRule(decimals=2, multiple_of=100, max_digits=8)
_UNKNOWN_CURRENCY: Final = CurrencyRule(refused="the provider does not know the currency")

# What differs from ISO 4217, sources: docs.stripe.com/currencies, docs.adyen.com/development-resources/
# currency-codes. Stripe takes eight digits at most unless it says otherwise.
_DIFFERENCES: Final[tuple[tuple[str, CurrencyRule, CurrencyRule, CurrencyRule], ...]] = (
    # currencies, Stripe charges, Stripe payouts, Adyen
    ("CLP", _STRIPE, _STRIPE, CurrencyRule(decimals=2)),
    ("ISK", _HUNDREDS, _HUNDREDS, CurrencyRule(decimals=2)),
    # Like ISK: the currency has no decimals any more, but Stripe still takes it with two, both 00.
    ("UGX", _HUNDREDS, _HUNDREDS, _ISO),
    ("MGA", _WHOLE, _WHOLE, _ISO),
    ("HUF TWD", _STRIPE, _HUNDREDS, _ISO),
    ("BHD JOD KWD OMR TND", _TENS, _STRIPE, _ISO),
    ("IQD LYD", _UNKNOWN_CURRENCY, _UNKNOWN_CURRENCY, _ISO),
    ("CVE", _STRIPE, _STRIPE, CurrencyRule(decimals=0)),
    ("IDR", _LONG, _LONG, CurrencyRule(decimals=0)),
    # Units of account in which nobody is paid.
    ("BOV CHE CHW CLF COU MXV USN UYI UYW", _UNKNOWN_CURRENCY, _UNKNOWN_CURRENCY, _UNKNOWN_CURRENCY),
)

_STRIPE_CHARGES: Final = {code: row[1] for row in _DIFFERENCES for code in row[0].split()}
_STRIPE_PAYOUTS: Final = {code: row[2] for row in _DIFFERENCES for code in row[0].split()}
_ADYEN: Final = {code: row[3] for row in _DIFFERENCES for code in row[0].split()}
_ISO_DECIMALS: Final = {currency.code: currency.exponent for currency in Currency}


class Amounts:
    """Converts between the ledger and one provider."""

    __slots__ = ("_ledger", "_provider")

    def __init__(self, provider: ProviderName, ledger: CurrencyRegistry) -> None:
        self._provider: Final = provider
        self._ledger: Final = ledger

    def to_provider(self, amount: int, currency: str, kind: ProviderCallKind) -> int:
        """Return an amount to send, in the provider's minor units.

        Raises:
            CurrencyUnsupported: one side does not know the currency.
            NotRepresentable: the amount has no exact value there, or the provider does not take it.
        """
        rule, decimals = self._rule(
            amount, currency, "payout" if kind is ProviderCallKind.CREATE_PAYOUT else "charge"
        )
        converted = self._rescale(amount, currency, self._ledger.exponent(currency), decimals)
        if converted % rule.multiple_of:
            text = f"what is sent must be divisible by {rule.multiple_of}"
            raise NotRepresentable(self._provider, currency, amount, text)
        if rule.max_digits is not None and len(str(abs(converted))) > rule.max_digits:
            raise NotRepresentable(self._provider, currency, amount, f"more than {rule.max_digits} digits")
        return converted

    def from_provider(self, amount: int, currency: str) -> int:
        """Return an amount that the provider stated, in the ledger's minor units.

        Limits on amounts that are sent do not apply to received ones, so only the decimals count here.

        Raises:
            CurrencyUnsupported: one side does not know the currency.
            NotRepresentable: the ledger has no exact value for it.
        """
        _, decimals = self._rule(amount, currency, "charge")
        return self._rescale(amount, currency, decimals, self._ledger.exponent(currency))

    def _rule(self, amount: int, currency: str, flow: Flow) -> tuple[CurrencyRule, int]:
        """Return the rule for a currency and the provider's decimal places."""
        if currency not in self._ledger:
            raise CurrencyUnsupported(
                self._provider, currency, amount, "the ledger does not know the currency"
            )
        rule = rule_of(self._provider, flow, currency)
        if rule.refused:
            raise CurrencyUnsupported(self._provider, currency, amount, rule.refused)
        decimals = _ISO_DECIMALS.get(currency) if rule.decimals is None else rule.decimals
        if decimals is None:
            raise CurrencyUnsupported(self._provider, currency, amount, _UNKNOWN_CURRENCY.refused)
        return rule, decimals

    def _rescale(self, amount: int, currency: str, from_decimals: int, to_decimals: int) -> int:
        upward: int = 10 ** max(0, to_decimals - from_decimals)
        downward: int = 10 ** max(0, from_decimals - to_decimals)
        converted, rest = divmod(amount * upward, downward)
        if rest:
            text = f"{from_decimals} decimal places do not fit into {to_decimals}"
            raise NotRepresentable(self._provider, currency, amount, text)
        if abs(converted) > _MAX_AMOUNT:
            raise NotRepresentable(self._provider, currency, amount, "more than 64 bits")
        return converted


def rule_of(provider: ProviderName, flow: Flow, currency: str) -> CurrencyRule:
    """Return a provider's rule for a currency."""
    match provider:
        case "mock":
            return _ISO
        case "stripe":
            return (_STRIPE_CHARGES if flow == "charge" else _STRIPE_PAYOUTS).get(currency, _STRIPE)
        case "adyen":
            return _ADYEN.get(currency, _ISO)
        case _:
            # A provider without a table of its own would be sent another one's decimal places.
            assert_never(provider)
