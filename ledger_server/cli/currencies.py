"""Owns the commands about currencies, which need the database and no server: `defter currencies`."""

import asyncio
from typing import Annotated

import typer

from ledger_server.cli.cant_start import cant_start
from ledger_server.domain.ledger.currency import MOST_KEPT, turnover_bound
from ledger_server.process.settings import Settings
from ledger_server.store.database import open_pool
from ledger_server.store.kept_store import keep, read_kept

app = typer.Typer(no_args_is_help=True, help="What the database keeps of currencies.")


@app.callback()
def group() -> None:
    """What the database keeps of currencies."""


@app.command("list")
def list_currencies() -> None:
    """List the currencies in use: decimal places, and how much can go through a side of an account."""
    for code, exponent in sorted(asyncio.run(_kept()).items()):
        if exponent is None:
            typer.echo(f"{code} open: in use since an earlier version; see `defter currencies keep`")
        else:
            typer.echo(f"{code} {exponent} decimal places, at most {turnover_bound(exponent):,} {code}")


@app.command("keep")
def keep_currency(
    code: Annotated[str, typer.Argument(help="the currency")],
    places: Annotated[int, typer.Argument(min=0, max=MOST_KEPT, help="its decimal places")],
) -> None:
    """Say with how many decimal places an earlier version has used a currency. What is kept stays."""
    kept = asyncio.run(_keep(code, places))
    if kept != places:
        why = "has never been used" if kept is None else f"is kept with {kept} decimal places"
        typer.echo(f"{code} {why}; nothing has changed", err=True)
        raise typer.Exit(2)
    typer.echo(f"{code} is kept with {places} decimal places")


async def _kept() -> dict[str, int | None]:
    settings = Settings()
    with cant_start():
        if not settings.database_url:
            raise ValueError("DEFTER_DATABASE_URL is not set")
        async with await open_pool(settings.database_url, role=settings.application_role, size=1) as pool:
            return await read_kept(pool)


async def _keep(code: str, places: int) -> int | None:
    """Return the decimal places that are kept afterwards; None if the currency has never been used."""
    if code not in await _kept():
        return None
    settings = Settings()
    assert settings.database_url
    with cant_start():
        async with await open_pool(settings.database_url, role=settings.application_role, size=1) as pool:
            return await keep(pool, code, places)
