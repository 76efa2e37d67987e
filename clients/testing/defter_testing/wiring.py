"""Owns the wiring of the fake: the server's own servicers over a ledger and reads in memory."""

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from defter.backfill.v1 import backfill_pb2
from defter.identity.v1 import access_pb2
from defter.ledger.v1 import account_pb2, adjustment_pb2, hold_pb2, journal_pb2, posting_pb2, tenant_pb2
from defter.payments.v1 import (
    deposit_pb2,
    outbound_pb2,
    player_pb2,
    provider_event_pb2,
    wallet_pb2,
    withdrawal_pb2,
)
from defter.reconciliation.v1 import finding_pb2, reconciliation_pb2, settlement_pb2
from google.protobuf.descriptor import ServiceDescriptor
from iso4217 import Currency

from defter_testing.adjustment_reads import MemoryAdjustmentReads
from defter_testing.failures import Failures
from defter_testing.ledger import NO_DATABASE, MemoryLedger
from defter_testing.payment_reads import MemoryPaymentReads
from defter_testing.provider import PROVIDER, BuiltInProvider
from defter_testing.reads import MemoryReads
from defter_testing.unserved import refusing, why_not
from defter_testing.watches import MemoryWatches
from ledger_server.domain.clock import Clock
from ledger_server.domain.ledger.amounts import AmountBounds
from ledger_server.domain.ledger.currency import Currencies, currencies_of
from ledger_server.engine.lane.kept_currencies import KeptCurrencies
from ledger_server.engine.reads.personal import PersonalData
from ledger_server.identity.quotas import Kind, Quota, Quotas
from ledger_server.rpc.access import AccessServicer
from ledger_server.rpc.account import AccountServicer
from ledger_server.rpc.adjustment import AdjustmentServicer
from ledger_server.rpc.callers_ledger import CallersLedger
from ledger_server.rpc.deposit import DepositServicer
from ledger_server.rpc.hold import HoldServicer
from ledger_server.rpc.journal import JournalServicer
from ledger_server.rpc.payment_requests import PaymentReader, ProviderAmounts
from ledger_server.rpc.posting import PostingServicer
from ledger_server.rpc.provider_event import ProviderEventServicer
from ledger_server.rpc.request_budget import RequestBudget
from ledger_server.rpc.requests import RequestReader
from ledger_server.rpc.serving import Handlers
from ledger_server.rpc.shares import Shares
from ledger_server.rpc.tenant import TenantServicer
from ledger_server.rpc.transaction_stream import Streams
from ledger_server.rpc.wallet import WalletServicer
from ledger_server.rpc.withdrawal import WithdrawalServicer

_MEBIBYTE: Final = 1024 * 1024
# The server's own bounds, by default.
_REQUEST_BYTES: Final = 64 * _MEBIBYTE
_QUOTA: Final = Quota(calls_per_second=None, calls_under_way=4_096, bytes_under_way=32 * _MEBIBYTE)
_SHARE: Final = 16
_HEAVY_READS: Final = 2
_DEPOSIT_HOLD: Final = timedelta(days=7)
_FOLLOWER_SECONDS: Final = 30.0
# Each file declares one service.
_FILES: Final[tuple[Any, ...]] = (
    tenant_pb2,
    account_pb2,
    posting_pb2,
    adjustment_pb2,
    hold_pb2,
    journal_pb2,
    deposit_pb2,
    withdrawal_pb2,
    wallet_pb2,
    provider_event_pb2,
    player_pb2,
    outbound_pb2,
    finding_pb2,
    reconciliation_pb2,
    backfill_pb2,
    settlement_pb2,
    access_pb2,
)
SERVICES: Final[tuple[ServiceDescriptor, ...]] = tuple(
    next(iter(file.DESCRIPTOR.services_by_name.values())) for file in _FILES
)
"""All services of the contract."""


class Wired:
    """A fake below gRPC; to be made in its event loop."""

    def __init__(
        self, clock: Clock, failures: Failures, *, epoch: str, max_amounts: Mapping[str, int]
    ) -> None:
        iso = {currency.code: currency.exponent for currency in Currency if currency.exponent is not None}
        known = currencies_of(iso, {}, {})
        bounds = AmountBounds(max_amounts)
        now = time.monotonic
        shares = Shares(Quotas(_quota, now), now, share=_SHARE, heavy=_HEAVY_READS)
        budget = RequestBudget(_REQUEST_BYTES)
        self.ledger: Final = MemoryLedger(clock, epoch=epoch)
        self.provider: Final = BuiltInProvider(self.ledger, clock)
        self.streams: Final = Streams(budget, shares.writes)
        watches = MemoryWatches(self.ledger, clock)
        self.ledger.on_commit(watches.committed)
        reads = MemoryReads(self.ledger, clock)
        payment_reads = MemoryPaymentReads(reads)
        callers = CallersLedger(self.ledger)
        reader = RequestReader(known.registry, bounds)
        amounts = {PROVIDER: ProviderAmounts(_same, _same, _same)}
        payments = PaymentReader(known.registry, amounts, bounds, deposit_hold=_DEPOSIT_HOLD)
        personal = PersonalData(reads, None)
        servicers: Mapping[Any, object] = {
            tenant_pb2: TenantServicer(callers, reads, _MemoryCurrencies(known)),
            account_pb2: AccountServicer(callers, reader, reads),
            posting_pb2: PostingServicer(callers, reader, reads, self.streams),
            adjustment_pb2: AdjustmentServicer(callers, reader, reads, MemoryAdjustmentReads(reads)),
            hold_pb2: HoldServicer(callers, reader, reads),
            journal_pb2: JournalServicer(reads, watches),
            deposit_pb2: DepositServicer(callers, payments, payment_reads, personal),
            withdrawal_pb2: WithdrawalServicer(callers, payments, reads, payment_reads, personal),
            wallet_pb2: WalletServicer(payment_reads),
            provider_event_pb2: ProviderEventServicer(callers, payments, payment_reads),
            access_pb2: AccessServicer(),
        }
        self.handlers: Final = Handlers(
            [
                (service, _Served(service, servicers.get(file), failures))
                for file, service in zip(_FILES, SERVICES, strict=True)
            ],
            budget,
            shares,
            write_seconds=_FOLLOWER_SECONDS,
        )


class _Served:
    """A servicer that meets the failures, and says of what is not served why."""

    def __init__(self, service: ServiceDescriptor, servicer: object, failures: Failures) -> None:
        for method in service.methods:
            behaviour = refusing(method) if why_not(method) else getattr(servicer, method.name)
            setattr(self, method.name, failures.wrapped(method, behaviour))


class _MemoryCurrencies(KeptCurrencies):
    """The currencies of the fake: nobody else could have others."""

    def __init__(self, known: Currencies) -> None:
        super().__init__(NO_DATABASE, known)
        self._exponents = known.registry.exponents()

    async def exponents(self) -> Mapping[str, int]:
        """Return the decimal places of all currencies."""
        return self._exponents


def _quota(_kind: Kind, _name: str) -> Quota:
    return _QUOTA


def _same(amount: int, _: str) -> int:
    """Return an amount as the built-in provider counts it: like the ledger."""
    return amount
