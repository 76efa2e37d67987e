"""Owns the wiring: from settings to a running server, and back down again."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

import grpc
import structlog
from defter.ledger.v1 import account_pb2, hold_pb2, journal_pb2, posting_pb2, tenant_pb2
from defter.payments.v1 import deposit_pb2, provider_event_pb2, wallet_pb2, withdrawal_pb2
from defter.reconciliation.v1 import finding_pb2, reconciliation_pb2, settlement_pb2
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from iso4217 import Currency

from ledger_server.domain.clock import Clock, system_clock
from ledger_server.domain.currency import CurrencyRegistry
from ledger_server.engine.finding_reads import FindingReads
from ledger_server.engine.lane import LaneLimits
from ledger_server.engine.ledger import Ledger
from ledger_server.engine.payment_reads import PaymentReads
from ledger_server.engine.reads import Reads
from ledger_server.engine.repairs import Repairs
from ledger_server.engine.run_reads import RunReads
from ledger_server.engine.runs import Runs
from ledger_server.engine.settlements import Settlements
from ledger_server.engine.watch import Watches
from ledger_server.jobs.dispatcher import Dispatcher, DispatchLimits
from ledger_server.jobs.hold_expiry import HoldExpiry
from ledger_server.jobs.parked_events import ParkedEvents
from ledger_server.jobs.reconciliation.reconciler import Reconciler
from ledger_server.jobs.settlement.importing import Importer
from ledger_server.providers.adapter import Adapter, CallKind
from ledger_server.rpc.account import AccountServicer
from ledger_server.rpc.deposit import DepositServicer
from ledger_server.rpc.finding import FindingServicer
from ledger_server.rpc.hold import HoldServicer
from ledger_server.rpc.intake import open_server
from ledger_server.rpc.journal import JournalServicer
from ledger_server.rpc.payment_requests import PaymentReader, ProviderAmounts
from ledger_server.rpc.posting import PostingServicer
from ledger_server.rpc.provider_event import ProviderEventServicer
from ledger_server.rpc.reconciliation import ReconciliationServicer
from ledger_server.rpc.requests import RequestReader
from ledger_server.rpc.serving import MAX_MESSAGE_BYTES, Handlers
from ledger_server.rpc.settlement import SettlementServicer
from ledger_server.rpc.tenant import TenantServicer
from ledger_server.rpc.wallet import WalletServicer
from ledger_server.rpc.withdrawal import WithdrawalServicer
from ledger_server.settings import Settings
from ledger_server.store.database import Pool, open_pool, schema_revision
from ledger_server.store.migrate import check_revision

log = structlog.get_logger()

_CHANNEL_OPTIONS = (
    # Room above our own limit, so that a message that is a little too large gets our own answer.
    ("grpc.max_receive_message_length", 2 * MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", 16 * MAX_MESSAGE_BYTES),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # By default gRPC drops calls at random with a bare CANCELLED once a thousand have arrived that are
    # not begun. A burst is the lane's to take or to refuse by name, so that limit lies beyond the lane's.
    ("grpc.server.max_pending_requests", 16_384),
    ("grpc.server.max_pending_requests_hard_limit", 32_768),
)


class Job(Protocol):
    """Something that goes on in the background."""

    def start(self) -> None:
        """Begin."""

    async def stop(self) -> None:
        """Stop."""


class RunningServer:
    """A server that accepts calls."""

    def __init__(
        self,
        *,
        port: int,
        server: grpc.aio.Server,
        handlers: Handlers,
        ledger: Ledger,
        watches: Watches,
        health_servicer: health.aio.HealthServicer,
        jobs: tuple[Job, ...],
        pools: tuple[Pool, ...],
        settings: Settings,
    ) -> None:
        self.port = port
        self.ledger = ledger
        self._watches = watches
        self._server = server
        self._handlers = handlers
        self._health = health_servicer
        self._jobs = jobs
        self._pools = pools
        self._settings = settings

    async def drain(self) -> None:
        """Stop cleanly: turn new calls away, answer what was begun, then close."""
        await self._health.enter_graceful_shutdown()
        for job in self._jobs:
            await job.stop()
        self._watches.drain()
        loop = asyncio.get_running_loop()
        until = loop.time() + self._settings.drain_seconds
        self._handlers.turn_away()
        await self.ledger.drain()
        # gRPC cancels what it has not handed out when it stops, which no caller takes for a reason to retry.
        await self._handlers.until_quiet()
        await self._server.stop(max(0.0, until - loop.time()))
        for pool in self._pools:
            await pool.close()

    async def abort(self) -> None:
        """Stop at once, as a crash would: nothing that is under way is answered."""
        self.ledger.abort()
        self._watches.drain()
        for job in self._jobs:
            await job.stop()
        for pool in self._pools:
            pool.terminate()
        await self._server.stop(None)


async def start_server(
    settings: Settings,
    *,
    clock: Clock | None = None,
    reuse_port: bool = False,
    providers: Mapping[str, Adapter] | None = None,
    provider_tenants: Mapping[str, frozenset[str]] | None = None,
) -> RunningServer:
    """Start serving.

    Args:
        clock: tells the time that records carry; the system's unless a test brings its own.
        reuse_port: whether other processes listen on the same port.
        providers: the adapters of the configured provider accounts, by name; the caller closes them.
        provider_tenants: which tenants may use an account; one that is left out serves every tenant.
    Raises:
        ValueError: there is no database URL.
        SchemaTooOld: the database still has to be migrated.
        OSError: the port is taken, or the database can't be reached.
    """
    if not settings.database_url:
        raise ValueError("DEFTER_DATABASE_URL is not set")
    clock = clock or system_clock
    role = settings.application_role
    writes = await open_pool(settings.database_url, role=role, size=settings.write_connections)
    reads = await open_pool(settings.database_url, role=role, size=settings.read_connections)
    check_revision(await schema_revision(writes))
    limits = LaneLimits(
        capacity=settings.lane_capacity,
        batch_size=settings.lane_batch_size,
        patience_seconds=settings.store_patience_seconds,
    )
    ledger = Ledger(writes, clock, limits)
    watches = Watches(reads, clock)
    ledger.on_commit(watches.committed)
    runs = Runs(reads, clock)
    reconciler = Reconciler(
        ledger, reads, clock, runs, providers or {}, pause_seconds=settings.listing_pause_seconds
    )
    ledger.on_commit(reconciler.committed)
    reader = RequestReader(currencies(settings.extra_currencies))
    importer = Importer(ledger, reads, clock, reader.currencies)
    ledger.on_commit(importer.committed)
    server = open_server([*_CHANNEL_OPTIONS, ("grpc.so_reuseport", int(reuse_port))])
    health_servicer = health.aio.HealthServicer()
    amounts = _amounts(providers or {}, provider_tenants or {})
    read = Reads(reads, clock)
    reconciliation = ReconciliationServicer(runs, reconciler, RunReads(read), clock, amounts)
    settlement = SettlementServicer(ledger, reader, Settlements(read), importer, amounts)
    handlers = _add_services(
        server,
        health_servicer,
        [
            *_servicers(ledger, reader, read, watches, amounts),
            (reconciliation_pb2.DESCRIPTOR.services_by_name["ReconciliationService"], reconciliation),
            (settlement_pb2.DESCRIPTOR.services_by_name["SettlementService"], settlement),
        ],
    )
    port = server.add_insecure_port(f"{settings.host}:{settings.port}")
    await server.start()
    await health_servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    jobs = (*_jobs(ledger, reads, clock, settings, providers or {}), reconciler)
    for job in jobs:
        job.start()
    log.info("serving", host=settings.host, port=port)
    return RunningServer(
        port=port,
        server=server,
        handlers=handlers,
        ledger=ledger,
        watches=watches,
        health_servicer=health_servicer,
        jobs=jobs,
        pools=(writes, reads),
        settings=settings,
    )


def _jobs(
    ledger: Ledger, pool: Pool, clock: Clock, settings: Settings, providers: Mapping[str, Adapter]
) -> tuple[Job, ...]:
    dispatcher = Dispatcher(
        ledger,
        pool,
        clock,
        providers,
        DispatchLimits(
            pause_seconds=settings.dispatch_sweep_seconds,
            call_seconds=settings.provider_call_seconds,
            lease_seconds=3 * settings.provider_call_seconds,
            poll_seconds=settings.provider_poll_seconds,
        ),
    )
    parked = ParkedEvents(
        ledger,
        pool,
        clock,
        pause_seconds=settings.parked_sweep_seconds,
        grace_seconds=settings.parked_grace_seconds,
    )
    ledger.on_commit(dispatcher.committed)
    ledger.on_commit(parked.committed)
    return (HoldExpiry(ledger, pool, clock, settings.expiry_sweep_seconds), dispatcher, parked)


def currencies(extra: Mapping[str, int]) -> CurrencyRegistry:
    """Return ISO 4217, as far as its currencies have minor units, and the configured assets."""
    exponents = {currency.code: currency.exponent for currency in Currency if currency.exponent is not None}
    return CurrencyRegistry({**exponents, **extra})


def _servicers(
    ledger: Ledger,
    reader: RequestReader,
    reads: Reads,
    watches: Watches,
    amounts: Mapping[str, ProviderAmounts],
) -> list[tuple[ServiceDescriptor, object]]:
    payment_reader = PaymentReader(reader.currencies, amounts)
    payment_reads = PaymentReads(reads)
    findings = FindingReads(reads)
    services: list[tuple[Any, object]] = [
        (tenant_pb2, TenantServicer(ledger, reads)),
        (account_pb2, AccountServicer(ledger, reader, reads)),
        (posting_pb2, PostingServicer(ledger, reader, reads)),
        (hold_pb2, HoldServicer(ledger, reader, reads)),
        (journal_pb2, JournalServicer(reads, watches)),
        (deposit_pb2, DepositServicer(ledger, payment_reader, payment_reads)),
        (withdrawal_pb2, WithdrawalServicer(ledger, payment_reader, reads, payment_reads)),
        (wallet_pb2, WalletServicer(payment_reads)),
        (provider_event_pb2, ProviderEventServicer(ledger, payment_reader, payment_reads)),
        (finding_pb2, FindingServicer(ledger, findings, Repairs(reads, findings))),
    ]
    return [
        (next(iter(module.DESCRIPTOR.services_by_name.values())), servicer) for module, servicer in services
    ]


def _amounts(
    providers: Mapping[str, Adapter], tenants: Mapping[str, frozenset[str]]
) -> Mapping[str, ProviderAmounts]:
    return {
        name: ProviderAmounts(
            to_payment=partial(adapter.to_provider, kind=CallKind.CREATE_PAYMENT),
            to_payout=partial(adapter.to_provider, kind=CallKind.CREATE_PAYOUT),
            from_provider=adapter.from_provider,
            tenants=tenants.get(name),
        )
        for name, adapter in providers.items()
    }


def _add_services(
    server: grpc.aio.Server,
    health_servicer: health.aio.HealthServicer,
    servicers: list[tuple[ServiceDescriptor, object]],
) -> Handlers:
    handlers = Handlers(servicers)
    server.add_generic_rpc_handlers((handlers,))
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    names = [service.full_name for service, _ in servicers]
    reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    return handlers
