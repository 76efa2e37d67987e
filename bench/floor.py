"""Own the floor: what this PostgreSQL does without a ledger, by pgbench and by one connection."""

import asyncio
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from urllib.parse import unquote, urlsplit, urlunsplit

from bench.cost import Meters
from bench.loads import keep_in_flight
from bench.measure import Meter, Window, run_window
from bench.payloads import ACCOUNT_COUNT, AMOUNT_MINOR
from bench.stack import connected
from ledger_server.embedded_postgres import find_binaries

CLIENTS = 16
THREADS = 2

SCHEMA = """
CREATE SCHEMA floor;
CREATE TABLE floor.accounts (account_id bigint PRIMARY KEY, balance_minor bigint NOT NULL);
CREATE TABLE floor.transfers (
    transfer_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    debit_account_id bigint NOT NULL,
    credit_account_id bigint NOT NULL,
    amount_minor bigint NOT NULL
);
CREATE TABLE floor.commits (commit_id bigint PRIMARY KEY);
-- Both rows are updated in the order of their ids: otherwise transfers in opposite directions
-- would deadlock.
CREATE FUNCTION floor.transfer(debit bigint, credit bigint, amount bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE floor.accounts
    SET balance_minor = balance_minor + CASE WHEN debit < credit THEN -amount ELSE amount END
    WHERE account_id = least(debit, credit);
    UPDATE floor.accounts
    SET balance_minor = balance_minor + CASE WHEN debit < credit THEN amount ELSE -amount END
    WHERE account_id = greatest(debit, credit);
    INSERT INTO floor.transfers (debit_account_id, credit_account_id, amount_minor)
    VALUES (debit, credit, amount);
END
$$;
"""
ACCOUNTS = """
INSERT INTO floor.accounts (account_id, balance_minor)
SELECT number, 0 FROM generate_series(0, $1::bigint) AS number
"""
# Account 0 takes part in every transfer of the hot script and in none of the other.
UNIFORM_SCRIPT = rf"""
\set debit random(1, {ACCOUNT_COUNT})
\set credit 1 + (:debit + random(0, {ACCOUNT_COUNT - 2})) % {ACCOUNT_COUNT}
SELECT floor.transfer(:debit, :credit, {AMOUNT_MINOR});
"""
HOT_SCRIPT = rf"""
\set debit random(1, {ACCOUNT_COUNT})
SELECT floor.transfer(:debit, 0, {AMOUNT_MINOR});
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """The floor's tables in one database, and the folder that holds pgbench's scripts."""

    database_url: str
    postmaster: int | None
    folder: Path

    async def prepare(self) -> None:
        """Create the tables and the function, beside the ledger's own and apart from them."""
        async with connected(self.database_url) as connection:
            await connection.execute(SCHEMA)
            await connection.execute(ACCOUNTS, ACCOUNT_COUNT)
            await connection.execute("ANALYZE floor.accounts")
        (self.folder / "uniform.sql").write_text(UNIFORM_SCRIPT)
        (self.folder / "hot.sql").write_text(HOT_SCRIPT)

    async def transfers(self, seconds: float, *, hot: bool = False) -> Window:
        """Run transfers by pgbench, whole seconds only; its clients count as the client."""
        whole_seconds = max(1, round(seconds))
        script = self.folder / ("hot.sql" if hot else "uniform.sql")
        url, password = without_password(self.database_url)
        meters = Meters(database=self.postmaster)
        before, children_before = meters.read(), _children_cpu_seconds()
        started = perf_counter()
        process = await asyncio.create_subprocess_exec(
            str(find_binaries().program("pgbench")),
            "--no-vacuum",
            "--protocol=prepared",
            f"--client={CLIENTS}",
            f"--jobs={THREADS}",
            f"--time={whole_seconds}",
            f"--file={script}",
            url,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PGPASSWORD": password},
        )
        output, complaints = await process.communicate()
        elapsed = perf_counter() - started
        spent = meters.read() - before
        cost = replace(spent, client=_children_cpu_seconds() - children_before)
        text = output.decode()
        done = _number(r"transactions actually processed: (\d+)", text)
        rate = _number(r"tps = ([\d.]+)", text)
        failed = _number(r"failed transactions: (\d+)", text)
        broken = process.returncode != 0 or not rate
        return Window(
            # pgbench's own rate leaves out the time it takes to connect.
            seconds=done / rate if rate else elapsed,
            operations=int(done),
            p50_seconds=None,
            p99_seconds=None,
            cost=cost,
            errors=int(failed) + broken,
            first_failure=complaints.decode(errors="replace").strip() if failed or broken else "",
            facts={"latency_mean_ms": _number(r"latency average = ([\d.]+)", text)},
        )

    async def commits(self, seconds: float) -> Window:
        """Insert one row and commit, over and over on one connection: one durable write each."""
        meter = Meter(seconds=seconds, meters=Meters(database=self.postmaster))
        async with connected(self.database_url) as connection:
            first = await connection.fetchval("SELECT count(*) FROM floor.commits")
            statement = "INSERT INTO floor.commits (commit_id) VALUES ($1)"

            async def operation(_: Meter) -> int:
                nonlocal first
                first += 1
                await connection.execute(statement, first)
                return 1

            await run_window(meter, [keep_in_flight([operation], meter)], seconds=seconds)
        return meter.window()


def without_password(url: str) -> tuple[str, str]:
    """Split a URL in one that may be seen in a list of processes, and its password."""
    parts = urlsplit(url)
    if parts.password is None:
        return url, os.environ.get("PGPASSWORD", "")
    user, _, place = parts.netloc.rpartition("@")
    shown = parts._replace(netloc=f"{user.partition(':')[0]}@{place}")
    return urlunsplit(shown), unquote(parts.password)


def _children_cpu_seconds() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    return float(found[1]) if found else 0.0
