"""Own that a currency keeps the decimal places with which it was first used, whatever servers are set to."""

from __future__ import annotations

import asyncio

import asyncpg
import grpc
import pytest
from defter.ledger.v1 import tenant_pb2

from ledger_server.process.bootstrap import load_currencies
from ledger_server.process.settings import Settings
from ledger_server.store import migrate
from tests.integration.test_cant_start import run
from tests.support.coherence import assert_ledger_coherent
from tests.support.ledger import Ledger
from tests.support.postgres import Databases, run_sql
from tests.support.service import Service, serving
from tests.support.wire import Refusal, read_refusal, refusal


async def kept(database_url: str) -> dict[str, int | None]:
    """Return what the database keeps."""
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch("SELECT currency_code, exponent FROM currencies")
    finally:
        await connection.close()
    return {row["currency_code"]: row["exponent"] for row in rows}


async def listed(service: Service) -> dict[str, tenant_pb2.Currency]:
    """Return what a server says of currencies."""
    response = await service.stubs.tenants.ListCurrencies(tenant_pb2.ListCurrenciesRequest())
    return {each.currency_code: each for each in response.currencies}


async def start(database_url: str, extra: dict[str, int | None]) -> None:
    """Start a server and stop it."""
    async with serving(database_url, extra_currencies=extra):
        pass


async def test_open_account_keeps_its_currency_and_no_other(database_url: str) -> None:
    """What is only offered may still be changed."""
    async with serving(database_url, extra_currencies={"POINTS": 0, "GEMS": 2}) as service:
        ledger = await service.new_ledger()
        await ledger.open("ann", currency_code="POINTS")
        await ledger.open("bob")

    assert await kept(database_url) == {"POINTS": 0, "EUR": 2}
    await start(database_url, {"POINTS": 0, "GEMS": 3})


async def test_start_with_other_decimal_places_is_refused_by_name(database_url: str) -> None:
    """Every amount would mean something else; nothing serves with that."""
    async with serving(database_url, extra_currencies={"POINTS": 0}) as service:
        await (await service.new_ledger()).open("ann", currency_code="POINTS")

    with pytest.raises(ValueError, match="DEFTER_EXTRA_CURRENCIES: POINTS is in use with 0 decimal places"):
        await start(database_url, {"POINTS": 2})
    code, lines = await run(
        "serve", DEFTER_DATABASE_URL=database_url, DEFTER_PORT="0", DEFTER_EXTRA_CURRENCIES='{"POINTS": 2}'
    )
    assert code == 1
    assert lines[-1].startswith("can't start: DEFTER_EXTRA_CURRENCIES: POINTS is in use with 0 decimal")


async def test_currency_that_settings_have_lost_stays_usable(database_url: str) -> None:
    """Money in it can be moved and paid out; it is told as withdrawn."""
    async with serving(database_url, extra_currencies={"POINTS": 0}) as service:
        await (await service.new_ledger()).open("ann", currency_code="POINTS")

    async with serving(database_url) as service:
        ledger = service.ledger(key_prefix="later")
        await ledger.open("bob", currency_code="POINTS")
        told = (await listed(service))["POINTS"]
        await assert_ledger_coherent(ledger)

    assert (told.decimal_places, told.withdrawn, told.turnover_bound) == (0, True, 2**63 - 1)


@pytest.mark.parametrize("count", [2, 6])
async def test_servers_with_different_settings_at_once_end_with_one_exponent(
    database_url: str, count: int
) -> None:
    """Whoever is first decides, in all tenants; the others take nothing in that currency."""
    services = [Service(database_url, extra_currencies={"POINTS": number % 3}) for number in range(count)]
    for service in services:
        await service.start()
    try:
        ledgers = [await service.new_ledger(f"casino-{number}") for number, service in enumerate(services)]

        async def opened(ledger: Ledger) -> Refusal | None:
            try:
                await ledger.open("ann", currency_code="POINTS")
            except grpc.aio.AioRpcError as error:
                return read_refusal(error)
            return None

        answers = await asyncio.gather(*map(opened, ledgers))
        [exponent] = (await kept(database_url)).values()
    finally:
        for service in services:
            await service.stop()

    for number, answer in enumerate(answers):
        assert (answer is None) == (number % 3 == exponent)
        assert answer is None or answer.reason == "CURRENCY_CONTRADICTED"


async def test_use_currency_that_another_server_keeps_otherwise_is_refused(database_url: str) -> None:
    """The facts are told, nothing is decided, and the lists show what is kept."""
    async with (
        serving(database_url, extra_currencies={"POINTS": 2}) as late,
        serving(database_url, extra_currencies={"POINTS": 0}) as first,
    ):
        await (await first.new_ledger()).open("ann", currency_code="POINTS")
        refused = await refusal(late.ledger(key_prefix="late").open("bob", currency_code="POINTS"))
        assert (refused.reason, refused.code.name) == ("CURRENCY_CONTRADICTED", "FAILED_PRECONDITION")
        assert refused.metadata == {
            "currency_code": "POINTS",
            "decimal_places": "2",
            "kept_decimal_places": "0",
        }
        assert (await listed(late))["POINTS"].decimal_places == 0
        await late.ledger(key_prefix="euro").open("eve")


# A database of the version before: what accounts have, the setting now, and what a start makes of it.
UPGRADES: list[tuple[str, dict[str, int | None], int | str]] = [
    ("ETH", {}, 18),
    ("ETH", {"ETH": 18}, 18),
    ("ETH", {"ETH": 9}, "ETH is in use since an earlier version"),
    ("USDT", {}, 6),
    ("POINTS", {"POINTS": 12}, 12),
    ("POINTS", {}, "POINTS is in use since an earlier version"),
    ("JPY", {}, 0),
]


@pytest.mark.parametrize(("code", "extra", "expected"), UPGRADES)
async def test_upgrade_keeps_what_amounts_meant(
    databases: Databases, code: str, extra: dict[str, int | None], expected: int | str
) -> None:
    """The reading that makes more of money than there was is refused, not taken."""
    with databases.empty() as url:
        await asyncio.to_thread(migrate.upgrade, url, "0004")
        run_sql(
            url,
            "INSERT INTO accounts"
            " (tenant_key, account_number, account_id, kind, currency_code, state, open_time)"
            f" VALUES (1, 2, 'ann', 2, '{code}', 1, now())",
        )
        await asyncio.to_thread(migrate.upgrade, url)
        settings = Settings(database_url=url, extra_currencies=extra)

        if isinstance(expected, str):
            with pytest.raises(ValueError, match=expected):
                await load_currencies(settings)
            return
        assert (await load_currencies(settings)).exponent(code) == expected
        assert await kept(url) == {code: expected}


async def test_operator_says_what_an_earlier_version_meant(databases: Databases) -> None:
    """After that servers start, and nothing can be said otherwise any more."""
    with databases.empty() as url:
        await asyncio.to_thread(migrate.upgrade, url)
        run_sql(url, "INSERT INTO currencies VALUES ('ETH', NULL, now())")
        words = {"DEFTER_DATABASE_URL": url}

        assert await run("currencies", "keep", "ETH", "9", **words) == (
            0,
            ["ETH is kept with 9 decimal places"],
        )
        assert await run("currencies", "keep", "ETH", "18", **words) == (
            2,
            ["ETH is kept with 9 decimal places; nothing has changed"],
        )
        assert await run("currencies", "keep", "GEMS", "2", **words) == (
            2,
            ["GEMS has never been used; nothing has changed"],
        )
        assert (await load_currencies(Settings(database_url=url))).exponent("ETH") == 9


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("DEFTER_EXTRA_CURRENCIES", "ETH=18", '{"POINTS": 0}'),
        ("DEFTER_EXTRA_CURRENCIES", '["ETH"]', '{"POINTS": 0}'),
        ("DEFTER_EXTRA_CURRENCIES", '{"ETH": "9"}', '{"POINTS": 0}'),
        ("DEFTER_EXTRA_CURRENCIES", '{"ETH": 9.5}', '{"POINTS": 0}'),
        ("DEFTER_PORT", "many", "port of the gRPC server"),
        ("DEFTER_PROVIDER_FILE", "providers.toml", "DEFTER_PROVIDERS_FILE"),
    ],
)
@pytest.mark.parametrize("command", ["serve", "migrate"])
async def test_setting_that_means_nothing_is_named_with_what_is_wanted(
    command: str, name: str, value: str, wanted: str
) -> None:
    """One line, with the variable, what is wrong with it, and the form that is wanted."""
    code, lines = await run(command, DEFTER_DATABASE_URL="postgresql://127.0.0.1:9/none", **{name: value})

    assert (code, len(lines)) == (2, 1)
    assert lines[0].startswith(f"{name}: ")
    assert wanted in lines[0]


async def test_command_with_misspelt_server_does_not_ask_another_one() -> None:
    """The default server may be somebody else's."""
    code, lines = await run("findings", "list", "--tenant", "casino", DEFTER_SERVR="elsewhere:50051")

    assert (code, lines) == (2, ["DEFTER_SERVR: there is no such setting; DEFTER_SERVER is meant"])
