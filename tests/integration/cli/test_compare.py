"""`defter compare` with a real server: a legacy database and files, reports, exit codes, history."""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from defter.backfill.v1 import backfill_pb2 as pb
from defter.backfill.v1.backfill_pb2_grpc import BackfillServiceStub

from ledger_server.operator.snapshot_lines import BadSnapshot
from ledger_server.operator.snapshot_reading import read_query
from tests.integration.cli.conftest import CommandLine
from tests.support.ledger import Ledger
from tests.support.patience import HANG_SECONDS
from tests.support.postgres import Databases
from tests.support.requests import transfer
from tests.support.service import Service

# A legacy system with drift of five kinds, in its own words and order.
WALLETS = [
    ("there-not", "EUR", "15.00", "0"),
    ("equal", "EUR", "7.00", "0.00"),
    ("amount", "EUR", "1.01", "0"),
    ("swap", "EUR", "0.05", "0.30"),
    ("currency", "USD", "0.10", "0"),
]
FOUND = [
    ("amount", "EUR", "real", "drifted", "1.00", "1.01", "0.01"),
    ("currency", "EUR", "real", "missing there", "0.10", "", "-0.10"),
    ("currency", "USD", "real", "missing here", "", "0.10", "0.10"),
    ("here", "EUR", "real", "missing there", "0.40", "", "-0.40"),
    ("swap", "EUR", "real", "drifted", "0.30", "0.05", "-0.25"),
    ("swap", "EUR", "bonus", "drifted", "0.05", "0.30", "0.25"),
    ("there-not", "EUR", "real", "missing here", "", "15.00", "15.00"),
]
QUERY = "SELECT player AS player_id, code AS currency, cash AS real, promo AS bonus FROM wallets"


@pytest.fixture
def cli(server: Service, ledger: Ledger) -> CommandLine:
    """The command line of the server of the tenant."""
    return CommandLine(server.server.port)


@pytest.fixture
def legacy_url(databases: Databases) -> Iterator[str]:
    """A database of the legacy system's own."""
    with databases.fresh() as url:
        yield url


@pytest.fixture
async def legacy(legacy_url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """The legacy system at its database, where a web shop's sums are double precision too."""
    connection = await asyncpg.connect(legacy_url)
    await connection.execute(
        "CREATE TABLE wallets (player text, code text, cash numeric(20, 2), promo numeric(20, 2))"
    )
    await connection.executemany(
        "INSERT INTO wallets VALUES ($1, $2, $3::text::numeric, $4::text::numeric)", WALLETS
    )
    yield connection
    await connection.close()


@pytest.fixture
async def busy(ledger: Ledger) -> AsyncIterator[None]:
    """Another comparison, with the source `busy`, is under way."""
    header = pb.CompareBalancesRequest.Header(tenant_id=ledger.tenant_id, source="busy", sequence=1)
    call = BackfillServiceStub(ledger.channel).CompareBalances(timeout=HANG_SECONDS)
    await call.write(pb.CompareBalancesRequest(header=header))
    await call.read()
    yield
    call.cancel()


async def fill(ledger: Ledger) -> int:
    """Give the ledger its side of the drift, and return its newest record."""
    for player, bucket, amount in (
        ("equal", "real", 700),
        ("here", "real", 40),
        ("amount", "real", 100),
        ("swap", "real", 30),
        ("swap", "bonus", 5),
        ("currency", "real", 10),
    ):
        account = f"player:{player}:{bucket}:EUR"
        await ledger.open(account)
        await ledger.submit(transfer("house", account, amount))
    return await ledger.head()


async def test_compare_legacy_database_finds_planted_drift_of_five_kinds_until_it_is_gone(
    cli: CommandLine,
    ledger: Ledger,
    legacy_url: str,
    legacy: asyncpg.Connection[asyncpg.Record],
    tmp_path: Path,
) -> None:
    """Each with its amounts in a report and as a finding; once both agree, all of them resolve."""
    head = await fill(ledger)
    report = tmp_path / "drift.csv"
    query = ("compare", "--query", QUERY, "--sequence", str(head))

    first = await cli.run(*query, "--csv", str(report), DEFTER_LEGACY_SQL_URL=legacy_url)
    as_json = await cli.run(*query, "--json", "--sql-url", legacy_url)
    findings = await cli.run("findings", "list", "--class", "balance-drift")
    await legacy.execute("DELETE FROM wallets")
    await legacy.executemany(
        "INSERT INTO wallets VALUES ($1, 'EUR', $2::text::numeric, $3::text::numeric)",
        [
            ("equal", "7", "0"),
            ("here", "0.4", "0"),
            ("amount", "1", "0"),
            ("swap", "0.3", "0.05"),
            ("currency", "0.1", "0"),
        ],
    )
    later = await cli.run(*query, "--sql-url", legacy_url)
    history = await cli.run("compare", "history", "--all", "--csv")

    with report.open(newline="") as stream:
        told = [tuple(row.values())[:7] for row in csv.DictReader(stream)]
    assert (first.code, told) == (1, FOUND), first
    assert "5 equal, 3 drifted, 2 missing here, 2 missing there" in first.output
    *differences, run = as_json.lines
    assert (as_json.code, len(differences), run["opened_count"]) == (1, 7, "0")
    assert all(each["finding_id"].startswith("fnd_") for each in differences)
    assert findings.output.splitlines()[-1] == "7 findings"
    assert (later.code, "7 resolved by this comparison" in later.output) == (0, True), later
    rows = list(csv.DictReader(history.output.splitlines()))
    changes = sorted((row["drifted"], row["missing here"], row["opened"], row["resolved"]) for row in rows)
    assert changes == [("0", "0", "0", "7"), ("3", "2", "0", "0"), ("3", "2", "7", "0")]
    assert not (await ledger.verify()).HasField("first_difference")


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("DELETE FROM wallets RETURNING player, code AS currency, cash AS real", "read-only"),
        ("SELECT 1; SELECT 2", "multiple commands"),
        ("SELECT player, code AS currency, cash::float8 AS real FROM wallets", "is a binary float"),
        ("SELECT player, code AS currency, cash / 3 AS real FROM wallets", "more decimal places than EUR"),
        ("SELECT nothing FROM nowhere", "nowhere"),
    ],
)
@pytest.mark.usefixtures("legacy")
async def test_compare_query_that_writes_or_is_not_exact_is_refused(
    cli: CommandLine, legacy_url: str, query: str, problem: str
) -> None:
    """It exits with 2, says why, tells no address, and has changed nothing."""
    ran = await cli.run("compare", "--sql-url", legacy_url, "--query", query, "--sequence", "1")

    connection = await asyncpg.connect(legacy_url)
    assert await connection.fetchval("SELECT count(*) FROM wallets") == len(WALLETS)
    await connection.close()
    assert (ran.code, problem in ran.errors, legacy_url in ran.errors) == (2, True, False), ran


# Statements that are none of balances, or would write; each is refused, and why.
REFUSED = [
    ("", "no rows"),
    ("-- nothing", "no rows"),
    ("SET TRANSACTION READ WRITE", "no rows"),
    ("COMMIT", "no rows"),
    ("DELETE FROM wallets", "no rows"),
    ("DO 'BEGIN DELETE FROM wallets; END'", "no rows"),
    ("COPY (SELECT 1) TO '{file}'", "no rows"),
    ("COPY (SELECT 1) TO PROGRAM 'cat > {file}'", "no rows"),
    ("SHOW transaction_read_only", "player_id and currency"),
    ("EXPLAIN ANALYZE SELECT * FROM wallets", "player_id and currency"),
    ("SELECT player, cash AS real FROM wallets", "player_id and currency"),
    ("SELECT player, code AS currency FROM wallets", "real, bonus, or both"),
    ("INSERT INTO wallets VALUES ('a') RETURNING player, code AS currency, cash AS real", "read-only"),
    ("WITH gone AS (DELETE FROM wallets RETURNING *) SELECT player, code currency, 1 AS real FROM gone",
     "read-only"),
    ("SELECT set_config('transaction_read_only', 'off', true) player, 'EUR' currency, 1 real", "read-write"),
    ("SELECT player, code AS currency, cash AS real, 999 AS real FROM wallets", "columns real: real, real"),
    ('SELECT player, code AS currency, cash AS real, 9 AS "Real" FROM wallets', "columns real: real, Real"),
    ("SELECT 'a' player, 'b' player, 'EUR' currency, 1 AS bonus", "columns player_id or player"),
    ("SELECT 'a' player, 'b' player_id, 'EUR' currency, 1 AS bonus", "columns player_id or player"),
    ("SELECT 'a' player, a.code currency, b.currency, 1 AS real FROM wallets a, (SELECT 'EUR' currency) b",
     "columns currency or currency_code"),
]  # fmt: skip


@pytest.mark.usefixtures("legacy")
async def test_read_query_that_is_none_of_balances_is_refused_before_it_runs(
    legacy_url: str, tmp_path: Path
) -> None:
    """The user may write anything there, and still nothing is written: not even a file of that host."""
    file = tmp_path / "written"
    told: list[tuple[str, str]] = []
    for query, problem in REFUSED:
        with pytest.raises(BadSnapshot) as refused:
            await read_query(legacy_url, query.format(file=file), {"EUR": 2}, lambda _: None)
        told.append((query, problem if problem in str(refused.value) else str(refused.value)))

    assert told == REFUSED
    assert not file.exists()
    connection = await asyncpg.connect(legacy_url)
    assert await connection.fetchval("SELECT count(*) FROM wallets") == len(WALLETS)
    await connection.close()


@pytest.mark.parametrize("player", ["'11111111-2222-3333-4444-555555555555'::uuid", "4711", "4711::bigint"])
async def test_read_query_takes_ids_that_are_no_text_as_their_text(legacy_url: str, player: str) -> None:
    """A uuid and a whole number have one."""
    query = f"SELECT {player} AS player, 'EUR' AS currency, 1.5 AS real"
    snapshot = await read_query(legacy_url, query, {"EUR": 2}, lambda _: None)
    read = [(line.player_id, line.real) for page in snapshot.lines.pages(9) for line in page]
    snapshot.lines.close()
    assert read == [(player.partition("::")[0].strip("'"), 150)]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--file", "{file}"), 2, "say the moment"),
        (("--file", "{file}", "--sequence", "1", "--time", "2030-01-01"), 2, "say the moment"),
        (("--sequence", "1"), 2, "--query"),
        (("--file", "{file}x", "--sequence", "1"), 2, "No such file"),
        (("--file", "{bad}", "--sequence", "1"), 2, "line 2: 10.005 has more decimal places"),
        (("--file", "{long}", "--sequence", "9999"), 2, "NOT_YET_RECORDED"),
        (("--file", "{long}", "--sequence", "1", "--tenant", "nobody"), 2, "TENANT_NOT_FOUND"),
        (
            ("--file", "{long}", "--sequence", "1", "--source", "busy"),
            5,
            "another comparison with that legacy system",
        ),
        (("--file", "{file}", "--sequence", "1", "--csv", "{file}/x"), 2, "drift"),
        (("--file", "{file}", "--sequence", "1", "--partial", "--quiet"), 1, ""),
    ],
)
@pytest.mark.usefixtures("busy")
async def test_compare_exits_with_a_code_that_a_scheduler_knows(
    cli: CommandLine, tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    """Wrong words, files and moments are refused with one reason each, before anything is compared."""
    file, bad, long = tmp_path / "drift.csv", tmp_path / "bad.csv", tmp_path / "long.csv"
    long.write_text("player,currency,real\n" + "".join(f"{each:064},EUR,1\n" for each in range(4_000)))
    file.write_text("player_id,currency,real,bonus\none,EUR,1.00,0\n")
    bad.write_text("player_id,currency,real\none,EUR,10.005\n")

    ran = await cli.run("compare", *(word.format(file=file, bad=bad, long=long) for word in words))

    assert (ran.code, said in ran.errors) == (code, True), ran
