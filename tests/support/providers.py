"""Own the three providers as the contract sees them: MockPSP itself, a small Stripe and a small Adyen."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator

from iso4217 import Currency
from msgspec.structs import replace

from ledger_server.domain.ledger.currency import CurrencyRegistry
from ledger_server.domain.provider_record import ProviderRecordKind
from ledger_server.providers.adapter import Accepted, Adapter, Made, ProviderCall, ProviderCallKind
from ledger_server.providers.adyen import AdyenAdapter
from ledger_server.providers.adyen_requests import AdyenAccount
from ledger_server.providers.mock import MockAdapter
from ledger_server.providers.stripe import StripeAdapter
from mock_psp.knobs import Knobs
from mock_psp.server import MockPsp, serve
from tests.support import fake_adyen, fake_stripe
from tests.support.clock import FakeClock
from tests.support.fake_adyen import FakeAdyen
from tests.support.fake_stripe import FakeStripe
from tests.support.vendor import Fault, Vendor, serving

NAMES = ("mock", "stripe", "adyen")
PATIENT_SECONDS = 30.0
IMPATIENT_SECONDS = 0.5
RETRY_AFTER_SECONDS = 7
_TOKEN = "mock-token"

# A currency whose ledger unit is a tenth of a penny, and an asset that no provider knows.
CURRENCIES = CurrencyRegistry(
    {currency.code: currency.exponent for currency in Currency if currency.exponent is not None}
    | {"GBP": 3, "USDT": 6}
)


class ProviderUnderTest(ABC):
    """One running provider.

    Attributes:
        payment_ref: a payment that can be refunded.
        missing_ref: has the form of this provider's ids, but names nothing.
        found_by_our_id: the kinds that can be found without the provider's id.
        read_by_ref: the kinds that can be read by the provider's id.
    """

    payment_ref: str
    destination: str
    missing_ref: str
    found_by_our_id: frozenset[ProviderCallKind] = frozenset(ProviderCallKind)
    read_by_ref: frozenset[ProviderCallKind] = frozenset(ProviderCallKind)

    @abstractmethod
    def make_adapter(self, *, timeout_seconds: float, right_key: bool, address: str | None) -> Adapter:
        """Make an adapter; of the provider's own address unless told otherwise."""

    @abstractmethod
    def fail_next(self, *faults: Fault | None) -> None:
        """Say what happens to the next requests, one each."""

    @abstractmethod
    def executions(self, our_id: str) -> int:
        """Return how many times something was made for an id."""

    @abstractmethod
    def add_payout_records(self, count: int) -> list[str]:
        """Let payouts of 1, 2, 3, … minor units happen; return their ids."""

    @abstractmethod
    def pass_time(self, seconds: float) -> None:
        """Let time pass at the provider."""

    @abstractmethod
    def forget_keys(self) -> None:
        """Let the provider forget every idempotency key."""

    @abstractmethod
    def add_ownerless_records(self) -> list[ProviderRecordKind]:
        """Move money without a payment: to our bank, for a known reason, and for an unknown one."""

    @abstractmethod
    def add_payout_that_came_back(self) -> None:
        """Pay 5 minor units out for `wd_back`, and let them come back."""

    def call(
        self, kind: ProviderCallKind, our_id: str = "wd_1", *, amount: int = 1500, currency: str = "EUR"
    ) -> ProviderCall:
        """Return a call that this provider can do."""
        return ProviderCall(
            kind=kind,
            our_id=our_id,
            player_id="42",
            amount=amount,
            currency=currency,
            payment_ref=self.payment_ref if kind is ProviderCallKind.REFUND else "",
            destination=self.destination if kind is ProviderCallKind.CREATE_PAYOUT else "",
            idempotency_key=f"tx_{our_id}",
        )


class MockUnderTest(ProviderUnderTest):
    """MockPSP itself."""

    destination = "bank:42"
    missing_ref = "mp_none"

    def __init__(self, psp: MockPsp, clock: FakeClock) -> None:
        self._psp = psp
        self._clock = clock
        payments = psp.state.payments
        created = payments.create(
            reference="dep_0", amount_minor=100_000, currency="EUR", customer="42", capture="auto"
        )
        payments.capture(created.id)
        self.payment_ref = created.id

    @property
    def psp(self) -> MockPsp:
        """The provider, for what only it can do."""
        return self._psp

    def make_adapter(self, *, timeout_seconds: float, right_key: bool, address: str | None) -> Adapter:
        """Make an adapter."""
        return MockAdapter(
            base_address=address or self._psp.url,
            api_key=_TOKEN if right_key else "wrong",
            currencies=CURRENCIES,
            timeout_seconds=timeout_seconds,
        )

    def fail_next(self, *faults: Fault | None) -> None:
        """Turn the knobs, which count each fault for itself."""
        knobs = self._psp.knobs
        knobs.faults_hit = "all"
        for fault in faults:
            match fault:
                case Fault.TIMEOUT_BEFORE:
                    knobs.timeout_before_execute, knobs.hang_seconds = 1, 3600
                case Fault.TIMEOUT_AFTER:
                    knobs.timeout_after_execute, knobs.hang_seconds = 1, 3600
                case Fault.HANG_UP_AFTER:
                    knobs.timeout_after_execute, knobs.hang_seconds = 1, 0
                case Fault.SERVER_ERROR:
                    knobs.error_500 = 1
                case Fault.RATE_LIMIT:
                    knobs.rate_limit, knobs.retry_after_seconds = 1, RETRY_AFTER_SECONDS
                case Fault.REFUSAL:
                    knobs.reject = 1
                case _:
                    raise AssertionError(f"MockPSP has no knob for {fault}")

    def executions(self, our_id: str) -> int:
        """Return MockPSP's own count."""
        return self._psp.state.executions[our_id]

    def add_payout_records(self, count: int) -> list[str]:
        """Pay out."""
        payouts = self._psp.state.payouts
        made = [
            payouts.create(reference=f"wd_old_{n}", amount_minor=n, currency="EUR", destination="bank:7")
            for n in range(1, count + 1)
        ]
        return [payouts.pay(payout.id).id for payout in made]

    def forget_keys(self) -> None:
        """Leave it to MockPSP's clock, which forgets after a day."""

    def pass_time(self, seconds: float) -> None:
        """Move the clock that MockPSP reads."""
        self._clock.advance(seconds=seconds)

    def add_ownerless_records(self) -> list[ProviderRecordKind]:
        """Settle, charge the account, correct it, and surprise everybody."""
        account = self._psp.state.account
        account.settle(currency="EUR")
        account.fee(currency="EUR", amount_minor=7)
        account.correct(currency="EUR", amount_minor=-3)
        account.surprise(currency="EUR", amount_minor=-1)
        return [
            ProviderRecordKind.SETTLEMENT,
            ProviderRecordKind.FEE,
            ProviderRecordKind.OTHER,
            ProviderRecordKind.UNKNOWN,
        ]

    def add_payout_that_came_back(self) -> None:
        """Pay, and return."""
        payouts = self._psp.state.payouts
        made = payouts.create(reference="wd_back", amount_minor=5, currency="EUR", destination="bank:7")
        payouts.pay(made.id)
        payouts.return_(made.id)


class _FakeUnderTest(ProviderUnderTest):
    """One of the hand-written providers, at an address."""

    def __init__(self, vendor: Vendor, address: str, clock: FakeClock) -> None:
        self._vendor = vendor
        self.address = address
        self._clock = clock

    def fail_next(self, *faults: Fault | None) -> None:
        """Put faults in line."""
        self._vendor.faults.extend(faults)

    def executions(self, our_id: str) -> int:
        """Return the provider's own count."""
        return self._vendor.executions[our_id]

    def forget_keys(self) -> None:
        """Forget them all."""
        self._vendor.forget_keys()

    def pass_time(self, seconds: float) -> None:
        """Date what is made from now on later."""
        self._vendor.now = self._clock.advance(seconds=seconds)


class StripeUnderTest(_FakeUnderTest):
    """A Stripe in miniature."""

    payment_ref = "pi_captured"
    destination = "ba_42"
    missing_ref = "po_none"

    def __init__(self, stripe: FakeStripe, address: str, clock: FakeClock) -> None:
        super().__init__(stripe, address, clock)
        self.stripe = stripe

    def make_adapter(self, *, timeout_seconds: float, right_key: bool, address: str | None) -> StripeAdapter:
        """Make an adapter."""
        return StripeAdapter(
            api_key=fake_stripe.API_KEY if right_key else "sk_test_wrong",
            base_address=address or self.address,
            currencies=CURRENCIES,
            timeout_seconds=timeout_seconds,
            clock=self._clock,
        )

    def add_payout_records(self, count: int) -> list[str]:
        """Write payouts and their balance transactions."""
        made = []
        for amount in range(1, count + 1):
            ours = {"our_id": f"wd_old_{amount}"}
            payout = self.stripe.add("payouts", status="paid", amount=amount, currency="eur", metadata=ours)
            self.stripe.move("payout", payout, amount=-amount)
            made.append(str(payout["id"]))
        return made

    def add_ownerless_records(self) -> list[ProviderRecordKind]:
        """Write an automatic payout, a fee of the account, a top-up, and a type to come."""
        payout = self.stripe.add("payouts", status="paid", amount=9, currency="eur", automatic=True)
        self.stripe.move("payout", payout, amount=-9)
        for type_ in ("stripe_fee", "topup", "a_type_to_come"):
            self.stripe.move(type_, None, amount=-7)
        return [
            ProviderRecordKind.SETTLEMENT,
            ProviderRecordKind.FEE,
            ProviderRecordKind.OTHER,
            ProviderRecordKind.UNKNOWN,
        ]

    def add_payout_that_came_back(self) -> None:
        """Write a failed payout's two balance transactions."""
        ours = {"our_id": "wd_back"}
        payout = self.stripe.add("payouts", status="failed", amount=5, currency="eur", metadata=ours)
        self.stripe.move("payout", payout, amount=-5)
        self.stripe.move("payout_failure", payout, amount=5)


class AdyenUnderTest(_FakeUnderTest):
    """An Adyen in miniature."""

    payment_ref = "993617894903480A"
    destination = "SE1234567890ABC1234567890"
    missing_ref = "PLNONE"
    found_by_our_id = frozenset({ProviderCallKind.CREATE_PAYOUT})
    read_by_ref = frozenset({ProviderCallKind.CREATE_PAYMENT, ProviderCallKind.CREATE_PAYOUT})

    def __init__(self, adyen: FakeAdyen, address: str, clock: FakeClock) -> None:
        super().__init__(adyen, address, clock)
        self.adyen = adyen

    def make_adapter(self, *, timeout_seconds: float, right_key: bool, address: str | None) -> AdyenAdapter:
        """Make an adapter."""
        base = address or self.address
        account = AdyenAccount(
            api_key=fake_adyen.API_KEY if right_key else "wrong",
            merchant_account=fake_adyen.MERCHANT,
            balance_account_id=fake_adyen.BALANCE_ACCOUNT,
            checkout_base_address=base + fake_adyen.CHECKOUT,
            transfers_base_address=base + fake_adyen.TRANSFERS,
        )
        return AdyenAdapter(
            account=account, currencies=CURRENCIES, timeout_seconds=timeout_seconds, clock=self._clock
        )

    def add_payout_records(self, count: int) -> list[str]:
        """Make transfers."""
        made = [
            self.adyen.add_transfer(amount={"value": n, "currency": "EUR"}, reference=f"wd_old_{n}")
            for n in range(1, count + 1)
        ]
        return [str(transfer["id"]) for transfer in made]

    def add_ownerless_records(self) -> list[ProviderRecordKind]:
        """Make a transfer to our bank, a fee, a correction, and a type to come."""
        self.adyen.add_transfer(reference="3JWT2")
        for type_ in ("fee", "manualCorrection", "aTypeToCome"):
            self.adyen.add_transfer(type=type_)
        return [
            ProviderRecordKind.SETTLEMENT,
            ProviderRecordKind.FEE,
            ProviderRecordKind.OTHER,
            ProviderRecordKind.UNKNOWN,
        ]

    def add_payout_that_came_back(self) -> None:
        """Make a returned transfer, which stays one."""
        self.adyen.add_transfer(
            amount={"value": 5, "currency": "EUR"}, reference="wd_back", status="returned"
        )


@contextlib.asynccontextmanager
async def running(name: str, clock: FakeClock) -> AsyncIterator[ProviderUnderTest]:
    """Run a provider whose time is the clock's."""
    match name:
        case "mock":
            async with serve(token=_TOKEN, knobs=Knobs(auto_complete=False), clock=clock, seed=1) as psp:
                yield MockUnderTest(psp, clock)
        case "stripe":
            stripe = FakeStripe(clock.now)
            async with serving(stripe) as address:
                yield StripeUnderTest(stripe, address, clock)
        case _:
            adyen = FakeAdyen(clock.now)
            async with serving(adyen) as address:
                yield AdyenUnderTest(adyen, address, clock)


def bare(answer: object) -> Accepted:
    """Return an answer without the content of its object, which other tests look at."""
    assert isinstance(answer, Accepted)
    return replace(answer, made=Made(), others=())
