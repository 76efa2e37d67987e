"""Owns the wiring: from settings to a running server, and its orderly end."""

import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import grpc
import structlog
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
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc
from iso4217 import Currency

from ledger_server.domain.clock import Clock
from ledger_server.domain.errors import ClockAstray, PersonalKeysMissing
from ledger_server.domain.ledger.amounts import OTHERS, AmountBounds
from ledger_server.domain.ledger.currency import Currencies, CurrencyRegistry, currencies_of
from ledger_server.engine.courtesy import Courtesy
from ledger_server.engine.lane.kept_currencies import KeptCurrencies
from ledger_server.engine.lane.lane_limits import LaneLimits
from ledger_server.engine.lane.turnover import warn_of_turnover
from ledger_server.engine.ledger import Ledger
from ledger_server.engine.reads.adjustments import AdjustmentReads
from ledger_server.engine.reads.findings import FindingReads
from ledger_server.engine.reads.follower_budget import FollowerBudget
from ledger_server.engine.reads.ledger import Reads
from ledger_server.engine.reads.payments import PaymentReads
from ledger_server.engine.reads.personal import PersonalData, renew_keys
from ledger_server.engine.reads.runs import RunReads
from ledger_server.engine.reads.watch import Watches
from ledger_server.engine.reconciliation.comparisons import Comparisons
from ledger_server.engine.reconciliation.outbounds import Outbounds
from ledger_server.engine.reconciliation.repairs import Repairs
from ledger_server.engine.reconciliation.runs import Runs
from ledger_server.engine.reconciliation.settlements import Settlements
from ledger_server.engine.records.sealing import ServerKeys, server_keys
from ledger_server.identity.quotas import Kind, Quota, Quotas
from ledger_server.jobs.balances.comparing import Comparer
from ledger_server.jobs.dispatcher import Dispatcher, DispatchLimits
from ledger_server.jobs.hold_expiry import HoldExpiry
from ledger_server.jobs.parked_events import ParkedEvents
from ledger_server.jobs.proof import Gate
from ledger_server.jobs.reconciliation.reconciler import Reconciler
from ledger_server.jobs.settlement.importing import Importer
from ledger_server.jobs.stocks import Stocks
from ledger_server.process.identity_settings import guarded
from ledger_server.process.live_identity import LiveIdentity
from ledger_server.process.readiness import Readiness
from ledger_server.process.running import Job, RunningServer, close
from ledger_server.process.settings import Settings
from ledger_server.providers.adapter import Adapter, ProviderCallKind
from ledger_server.rpc.access import AccessServicer
from ledger_server.rpc.account import AccountServicer
from ledger_server.rpc.adjustment import AdjustmentServicer
from ledger_server.rpc.backfill import BackfillServicer
from ledger_server.rpc.callers_ledger import CallersLedger
from ledger_server.rpc.deposit import DepositServicer
from ledger_server.rpc.finding import FindingServicer
from ledger_server.rpc.grpc_server import CHANNEL_OPTIONS, open_server
from ledger_server.rpc.guard import Guard
from ledger_server.rpc.hold import HoldServicer
from ledger_server.rpc.journal import JournalServicer
from ledger_server.rpc.openings import OpeningImports
from ledger_server.rpc.outbound import OutboundServicer
from ledger_server.rpc.payment_requests import PaymentReader, ProviderAmounts
from ledger_server.rpc.player import PlayerServicer
from ledger_server.rpc.posting import PostingServicer
from ledger_server.rpc.provider_event import ProviderEventServicer
from ledger_server.rpc.reconciliation import ReconciliationServicer
from ledger_server.rpc.reflection import ReflectionServicer
from ledger_server.rpc.request_budget import RequestBudget
from ledger_server.rpc.requests import RequestReader
from ledger_server.rpc.serving import Handlers
from ledger_server.rpc.settlement import SettlementServicer
from ledger_server.rpc.shares import Shares, Way
from ledger_server.rpc.tenant import TenantServicer
from ledger_server.rpc.transaction_stream import Streams
from ledger_server.rpc.wallet import WalletServicer
from ledger_server.rpc.withdrawal import WithdrawalServicer
from ledger_server.store.database import Connections, Pool, open_pool, schema_revision
from ledger_server.store.database_clock import ClockLimits, DatabaseClock, OwnClocks
from ledger_server.store.history_store import HistoryNotReadable
from ledger_server.store.history_watch import HistoryWatch
from ledger_server.store.hosts import Hosts
from ledger_server.store.kept_store import keep, read_kept
from ledger_server.store.revisions import check_revision
from ledger_server.store.witness import WitnessKeeper

log = structlog.get_logger()

_LONGEST_PROOF_SECONDS = 5.0


async def start_server(
    settings: Settings,
    *,
    clock: Clock | None = None,
    own_clocks: OwnClocks | None = None,
    reuse_port: bool = False,
    providers: Mapping[str, Adapter] | None = None,
    provider_tenants: Mapping[str, frozenset[str]] | None = None,
    witness: WitnessKeeper | None = None,
) -> RunningServer:
    """Start serving.

    Args:
        clock: gives the record times; the database's clock unless a test brings its own.
        own_clocks: the clocks of this machine, by which the database's time is estimated; a test may bring
            others.
        reuse_port: whether other processes listen on the same port.
        providers: the adapters of the configured provider accounts, by name; the caller closes them.
        provider_tenants: which tenants may use an account; an account that is left out serves every tenant.
        witness: what earlier servers of this process saw of the database; None reads it from the settings'
            file.
    Raises:
        ValueError: there is no database URL, a configured asset or bound is none, a file of keys has none,
            or calls can't be asked for ahead.
        SchemaTooOld: the database still has to be migrated.
        OSError: the database can't be reached.
        RuntimeError: the port is taken (raised by gRPC).
    """
    if not settings.database_url:
        raise ValueError("DEFTER_DATABASE_URL is not set")
    wanted = guarded(settings)
    personal_keys = _personal_keys(settings)
    identity = None if wanted is None else LiveIdentity(wanted)
    amounts = _amounts(providers or {}, provider_tenants or {})
    async with AsyncExitStack() as opened:
        keeper = witness or WitnessKeeper(settings.witness_file)
        watch = HistoryWatch(keeper)
        hosts = Hosts(settings.database_url, role=settings.application_role, newest=keeper.newest_timelines())
        await _begin_history(settings, watch, hosts)
        pools: list[Pool] = []
        shared = Connections(
            settings.database_url,
            role=settings.application_role,
            checks=(watch.connected,),
            slow_seconds=settings.slow_statement_seconds,
            hosts=hosts,
        )
        # A lane's reads need no durability proof: they are told only after the lane's own commit.
        sizes = (("write", settings.write_connections, False), ("read", settings.read_connections, True))
        for name, size, tells in sizes:
            pool = await open_pool(
                settings.database_url, role=settings.application_role, size=size, tells=tells, shared=shared
            )
            opened.push_async_callback(close, pool)
            pool.show(name)
            pools.append(pool)
        watch.start(pools[1], hosts)
        opened.push_async_callback(watch.stop)
        known = await _known_currencies(settings, pools[0])
        for notice in known.notices:
            log.warning(notice)
        if personal_keys is not None:
            await _renew_player_keys(pools[1], personal_keys)
        bounds = amount_bounds(settings.max_amounts, known.registry)
        database_clock, injected = None, clock
        if clock is None:
            clock = database_clock = await _database_clock(settings, opened, pools, shared, own_clocks)
        shares = _shares(settings, None if identity is None else identity.guard)
        wired = _wire(
            settings,
            shares,
            clock,
            known,
            bounds,
            writes=pools[0],
            reads=pools[1],
            providers=providers or {},
            amounts=amounts,
            injected=injected,
            gate=_gate(database_clock, watch),
            provider_tenants=provider_tenants or {},
            personal_keys=personal_keys,
        )
        wired.ledger.on_commit(watch.committed)
        wired.ledger.on_loss(watch.lost)
        server = open_server(
            [
                *CHANNEL_OPTIONS,
                # Callers that spread their calls over servers find new ones when they connect anew. There is
                # no bound on how long calls under way go on: streams last for hours.
                ("grpc.max_connection_age_ms", settings.connection_age_seconds * 1_000),
                ("grpc.so_reuseport", int(reuse_port)),
            ],
            calls_ahead=settings.calls_ahead,
        )
        handlers, health_servicer = await _add_services(
            server,
            wired.servicers,
            wired.budget,
            shares,
            write_seconds=settings.follower_seconds,
            guard=None if identity is None else identity.guard,
        )
        # The pool of the clock is always at hand; a test's clock has none.
        readiness = Readiness(pools[2] if len(pools) > 2 else pools[1], health_servicer, watch.changed)
        await readiness.start()
        opened.push_async_callback(readiness.stop)
        if database_clock is not None:
            await _show_clock(database_clock, health_servicer, wired.servicers)
            await database_clock.on_astray(readiness.astray)
        port, token_port = _listen(server, settings, identity)
        await server.start()
        opened.pop_all()  # from here on the running server closes them
    for job in wired.jobs:
        job.start()
    if identity is not None:
        identity.start(settings.identity_reload_seconds)
    log.info("serving", host=settings.host, port=port, token_port=token_port)
    return RunningServer(
        port=port,
        token_port=token_port,
        identity=identity,
        server=server,
        handlers=handlers,
        ledger=wired.ledger,
        watches=wired.watches,
        streams=wired.streams,
        health_servicer=health_servicer,
        jobs=wired.jobs,
        clock=database_clock,
        history=watch,
        readiness=readiness,
        pools=tuple(pools),
        settings=settings,
    )


def _listen(
    server: grpc.aio.Server, settings: Settings, identity: LiveIdentity | None
) -> tuple[int, int | None]:
    """Open the server's ports; return the usual one, and the one for tokens where that is another."""
    address = f"{settings.host}:{settings.port}"
    if identity is None:
        log.warning(
            "OPEN: no TLS, no identities, no policy; everyone on this machine may do everything",
            host=settings.host,
        )
        return server.add_insecure_port(address), None
    certificates = settings.client_authority_file is not None
    port = server.add_secure_port(address, identity.credentials(certificates=certificates))
    if settings.token_port is None:
        return port, None
    address = f"{settings.host}:{settings.token_port}"
    return port, server.add_secure_port(address, identity.credentials(certificates=False))


def _personal_keys(settings: Settings) -> ServerKeys | None:
    """Return the keys of the server for personal data.

    Raises:
        ValueError: the file can't be read, or is none.
    """
    file = settings.personal_keys_file
    if file is None:
        return None
    try:
        return server_keys(file.read_text())
    except OSError as error:
        raise ValueError(f"DEFTER_PERSONAL_KEYS_FILE: {error.strerror}: {file}") from None
    except ValueError as error:
        raise ValueError(f"DEFTER_PERSONAL_KEYS_FILE: {error}") from None


async def _renew_player_keys(pool: Pool, keys: ServerKeys) -> None:
    """Encrypt the keys of players by the first key of the server, so that the others can be taken away."""
    try:
        renewed = await renew_keys(pool, keys)
    except PersonalKeysMissing as missing:
        name = missing.metadata["key_name"]
        raise ValueError(
            f"DEFTER_PERSONAL_KEYS_FILE: players' keys are encrypted by {name}, which is not in it"
        ) from None
    if renewed:
        log.info("keys of players are encrypted by the first key", key=keys.name, renewed=renewed)


async def _begin_history(settings: Settings, watch: HistoryWatch, hosts: Hosts) -> None:
    """Find out the database's history before anything else is read.

    Raises:
        SchemaTooOld: the database still has to be migrated.
    """
    assert settings.database_url is not None
    role = settings.application_role
    shared = Connections(settings.database_url, role=role, hosts=hosts)
    pool = await open_pool(settings.database_url, role=role, size=1, tells=False, shared=shared)
    try:
        check_revision(await schema_revision(pool))
        async with pool.acquire() as connection:
            history = await watch.begin(connection)
    except HistoryNotReadable as error:
        raise OSError(
            f"{error}; as the owner of the cluster: GRANT EXECUTE ON FUNCTION pg_control_system()"
            f" TO {settings.application_role}"
        ) from error
    finally:
        await close(pool)
    if history.outbound_stopped:
        log.error(
            "no call to a provider is made until `defter outbound resume`",
            why=history.note,
            actor=history.actor,
            since=history.change_time,
            epoch=history.epoch,
        )


async def _database_clock(
    settings: Settings,
    opened: AsyncExitStack,
    pools: list[Pool],
    shared: Connections,
    own_clocks: OwnClocks | None,
) -> DatabaseClock:
    """Return the database's clock, which has a pool that is always at hand; the stack closes both."""
    assert settings.database_url is not None
    # Readiness asks over the second connection, so that neither waits for the other.
    pool = await open_pool(
        settings.database_url, role=settings.application_role, size=2, tells=False, shared=shared
    )
    opened.push_async_callback(close, pool)
    pools.append(pool)
    clock = DatabaseClock(pool, ClockLimits(bound_seconds=settings.clock_bound_seconds), own=own_clocks)
    await clock.start()
    opened.push_async_callback(clock.stop)
    return clock


async def _show_clock(
    clock: DatabaseClock,
    health_servicer: health.aio.HealthServicer,
    servicers: list[tuple[ServiceDescriptor, object]],
) -> None:
    """Report NOT_SERVING in the health service while the server's own clock is off by too much."""

    async def show(astray: bool) -> None:
        response = health_pb2.HealthCheckResponse
        for name in ("", *(service.full_name for service, _ in servicers)):
            await health_servicer.set(name, response.NOT_SERVING if astray else response.SERVING)

    await clock.on_astray(show)


def _gate(clock: DatabaseClock | None, watch: HistoryWatch) -> Gate:
    """Return the gate for outbound calls: they may leave while they are not stopped and the time is known."""

    async def why_not() -> str:
        if clock is not None:
            try:
                await clock.trusted()
            except ClockAstray as error:
                return str(error)
        return await watch.why_stopped()

    return why_not


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wired:
    """The parts of a server below gRPC."""

    ledger: Ledger
    watches: Watches
    streams: Streams
    budget: RequestBudget
    jobs: tuple[Job, ...]
    servicers: list[tuple[ServiceDescriptor, object]]


def _shares(settings: Settings, guard: Guard | None) -> Shares:
    """Return the quotas and gates of the calls of this process; a policy may have other quotas for some."""
    usual = Quota(
        calls_per_second=settings.quota_calls_per_second,
        calls_under_way=settings.quota_calls,
        bytes_under_way=settings.quota_bytes,
    )

    def quota_of(kind: Kind, name: str) -> Quota:
        return usual if guard is None else guard.in_force.policy.quota(kind, name, usual)

    now = time.monotonic
    return Shares(Quotas(quota_of, now), now, share=settings.share, heavy=settings.heavy_reads)


def _wire(
    settings: Settings,
    shares: Shares,
    clock: Clock,
    known: Currencies,
    bounds: AmountBounds,
    *,
    writes: Pool,
    reads: Pool,
    providers: Mapping[str, Adapter],
    amounts: Mapping[str, ProviderAmounts],
    injected: Clock | None,
    gate: Gate,
    provider_tenants: Mapping[str, frozenset[str]],
    personal_keys: ServerKeys | None,
) -> _Wired:
    limits = LaneLimits(
        capacity=settings.lane_capacity,
        capacity_bytes=settings.lane_capacity_bytes,
        working_set_bytes=settings.working_set_bytes,
        batch_size=settings.lane_batch_size,
        patience_seconds=settings.store_patience_seconds,
        slow_seconds=settings.slow_batch_seconds,
    )
    registry = known.registry
    ledger = Ledger(writes, clock, limits)
    kept = KeptCurrencies(reads, known)
    ledger.admit_by(kept.admit)
    followers = FollowerBudget(settings.follower_bytes, wait_seconds=settings.follower_seconds)
    watches = Watches(reads, clock, followers)
    budget = RequestBudget(settings.request_bytes)
    streams = Streams(budget, shares.writes)
    runs = Runs(reads, clock)
    reconciler = Reconciler(
        ledger, reads, clock, runs, providers, pause_seconds=settings.listing_pause_seconds
    )
    importer = Importer(ledger, reads, clock, registry)
    comparer = Comparer(ledger, reads, clock, Comparisons(reads, clock))
    for told in (
        watches.committed,
        reconciler.committed,
        importer.committed,
        comparer.committed,
        warn_of_turnover,
    ):
        ledger.on_commit(told)
    read = Reads(reads, clock, writer=ledger, courtesy=Courtesy(lambda: shares.busy))
    ledger.on_commit(read.finality.committed)
    reconciliation = ReconciliationServicer(runs, reconciler, RunReads(read), clock, amounts)
    reader = RequestReader(registry, bounds)
    deposit_hold = timedelta(seconds=settings.deposit_hold_seconds)
    openings = OpeningImports(CallersLedger(ledger), reader, read, streams, currencies=kept)
    servicers = _servicers(
        CallersLedger(ledger),
        reader,
        PaymentReader(registry, amounts, bounds, deposit_hold=deposit_hold),
        read,
        watches=watches,
        streams=streams,
        amounts=amounts,
        importer=importer,
        reconciliation=reconciliation,
        backfill=BackfillServicer(read, comparer, kept, registry, openings=openings),
        kept=kept,
        personal=PersonalData(read, personal_keys),
    )
    dispatcher = _dispatcher(
        ledger, reads, injected, settings, providers=providers, tenants=provider_tenants, gate=gate
    )
    ledger.on_commit(dispatcher.committed)
    jobs = (*_jobs(ledger, reads, clock, settings), dispatcher, reconciler)
    return _Wired(
        ledger=ledger, watches=watches, streams=streams, budget=budget, jobs=jobs, servicers=servicers
    )


def _dispatcher(
    ledger: Ledger,
    pool: Pool,
    clock: Clock | None,
    settings: Settings,
    *,
    providers: Mapping[str, Adapter],
    tenants: Mapping[str, frozenset[str]],
    gate: Gate,
) -> Dispatcher:
    call_seconds = settings.provider_call_seconds
    limits = DispatchLimits(
        pause_seconds=settings.dispatch_sweep_seconds,
        call_seconds=call_seconds,
        lease_seconds=3 * call_seconds,
        proof_seconds=min(_LONGEST_PROOF_SECONDS, call_seconds / 2),
        poll_seconds=settings.provider_poll_seconds,
    )
    return Dispatcher(ledger, pool, clock, providers, limits, tenants=tenants, gate=gate)


def _jobs(ledger: Ledger, pool: Pool, clock: Clock, settings: Settings) -> tuple[Job, ...]:
    parked = ParkedEvents(
        ledger,
        pool,
        clock,
        pause_seconds=settings.parked_sweep_seconds,
        grace_seconds=settings.parked_grace_seconds,
    )
    ledger.on_commit(parked.committed)
    expiry = HoldExpiry(ledger, pool, clock, settings.expiry_sweep_seconds)
    if settings.metrics_port is None:  # nobody would see it
        return (expiry, parked)
    stocks = Stocks(
        pool,
        clock,
        pause_seconds=settings.metrics_seconds,
        named_tenants=frozenset(settings.metrics_tenants),
    )
    return (expiry, parked, stocks)


def currencies(extra: Mapping[str, int | None]) -> CurrencyRegistry:
    """Return the currencies of ISO 4217 that have minor units, the shipped assets and the configured ones.

    A server has these on an empty database; `load_currencies` adds the currencies in use.

    Raises:
        ValueError: a configured asset has a broken code or number of decimal places.
    """
    return _currencies(extra, {}).registry


async def load_currencies(settings: Settings) -> CurrencyRegistry:
    """Return the currencies that a server has on its database, by which adapters convert.

    Raises:
        ValueError: there is no database URL, or the settings are invalid or contradict what is kept.
        SchemaTooOld: the database still has to be migrated.
        OSError: the database can't be reached.
    """
    if not settings.database_url:
        raise ValueError("DEFTER_DATABASE_URL is not set")
    pool = await open_pool(settings.database_url, role=settings.application_role, size=1, tells=False)
    try:
        check_revision(await schema_revision(pool))
        return (await _known_currencies(settings, pool)).registry
    finally:
        await close(pool)


async def _known_currencies(settings: Settings, pool: Pool) -> Currencies:
    """Return the currencies; decimal places that an earlier version left open are kept as of now."""
    kept = await read_kept(pool)
    known = _currencies(settings.extra_currencies, kept)
    for code in sorted(code for code, exponent in kept.items() if exponent is None):
        await keep(pool, code, known.registry.exponent(code))
    # Another server with other settings may have been faster.
    return _currencies(settings.extra_currencies, await read_kept(pool))


def _currencies(extra: Mapping[str, int | None], kept: Mapping[str, int | None]) -> Currencies:
    iso = {currency.code: currency.exponent for currency in Currency if currency.exponent is not None}
    try:
        return currencies_of(iso, extra, kept)
    except ValueError as error:
        raise ValueError(f"DEFTER_EXTRA_CURRENCIES: {error}") from None


def amount_bounds(bounds: Mapping[str, int], registry: CurrencyRegistry) -> AmountBounds:
    """Return the bounds of a single amount.

    Raises:
        ValueError: a bound is out of range, or is for an unknown currency.
    """
    unknown = [code for code in bounds if code != OTHERS and code not in registry]
    if unknown:
        raise ValueError(
            f"DEFTER_MAX_AMOUNTS: {unknown[0]} is no currency; `{OTHERS}` stands for all that are not named"
        )
    try:
        return AmountBounds(bounds)
    except ValueError as error:
        raise ValueError(f"DEFTER_MAX_AMOUNTS: {error}") from None


def _servicers(
    ledger: CallersLedger,
    reader: RequestReader,
    payment_reader: PaymentReader,
    reads: Reads,
    *,
    watches: Watches,
    streams: Streams,
    amounts: Mapping[str, ProviderAmounts],
    importer: Importer,
    reconciliation: ReconciliationServicer,
    backfill: BackfillServicer,
    kept: KeptCurrencies,
    personal: PersonalData,
) -> list[tuple[ServiceDescriptor, object]]:
    payment_reads = PaymentReads(reads)
    findings = FindingReads(reads)
    # By the proto file of the service; each file declares one service.
    services: list[tuple[Any, object]] = [
        (tenant_pb2, TenantServicer(ledger, reads, kept)),
        (account_pb2, AccountServicer(ledger, reader, reads)),
        (adjustment_pb2, AdjustmentServicer(ledger, reader, reads, AdjustmentReads(reads))),
        (posting_pb2, PostingServicer(ledger, reader, reads, streams)),
        (hold_pb2, HoldServicer(ledger, reader, reads)),
        (journal_pb2, JournalServicer(reads, watches)),
        (deposit_pb2, DepositServicer(ledger, payment_reader, payment_reads, personal)),
        (withdrawal_pb2, WithdrawalServicer(ledger, payment_reader, reads, payment_reads, personal)),
        (wallet_pb2, WalletServicer(payment_reads)),
        (provider_event_pb2, ProviderEventServicer(ledger, payment_reader, payment_reads)),
        (player_pb2, PlayerServicer(ledger, payment_reads, personal)),
        (outbound_pb2, OutboundServicer(Outbounds(reads))),
        (finding_pb2, FindingServicer(ledger, findings, Repairs(reads, findings))),
        (reconciliation_pb2, reconciliation),
        (backfill_pb2, backfill),
        (access_pb2, AccessServicer()),
        (
            settlement_pb2,
            SettlementServicer(ledger, reader, Settlements(reads), importer, amounts, currencies=kept),
        ),
    ]
    return [
        (next(iter(module.DESCRIPTOR.services_by_name.values())), servicer) for module, servicer in services
    ]


def _amounts(
    providers: Mapping[str, Adapter], tenants: Mapping[str, frozenset[str]]
) -> Mapping[str, ProviderAmounts]:
    return {
        name: ProviderAmounts(
            to_payment=partial(adapter.to_provider, kind=ProviderCallKind.CREATE_PAYMENT),
            to_payout=partial(adapter.to_provider, kind=ProviderCallKind.CREATE_PAYOUT),
            from_provider=adapter.from_provider,
            tenants=tenants.get(name),
        )
        for name, adapter in providers.items()
    }


async def _add_services(
    server: grpc.aio.Server,
    servicers: list[tuple[ServiceDescriptor, object]],
    budget: RequestBudget,
    shares: Shares,
    *,
    write_seconds: float,
    guard: Guard | None,
) -> tuple[Handlers, health.aio.HealthServicer]:
    """Add the ledger's services, and health and reflection, which know them by name."""
    handlers = Handlers(servicers, budget, shares, write_seconds=write_seconds, guard=guard)
    server.add_generic_rpc_handlers((handlers,))
    names = [service.full_name for service, _ in servicers]
    health_servicer = health.aio.HealthServicer()
    for name in ("", *names):  # the empty name is the server as a whole
        await health_servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    asking: Any = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"].methods[0]
    reflected = ReflectionServicer(
        [*names, health.SERVICE_NAME, reflection.SERVICE_NAME],
        None if guard is None else guard.door(asking),
        Way(asking, shares, budget),
    )
    add_reflection: Any = reflection_pb2_grpc.add_ServerReflectionServicer_to_server  # has no types
    add_reflection(reflected, server)
    return handlers, health_servicer
