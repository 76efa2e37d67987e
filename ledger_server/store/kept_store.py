"""Owns the kept decimal places of currencies: a row for each currency that any tenant has ever used."""

from typing import Final

from ledger_server.store.database import Pool

_READ: Final = "SELECT currency_code, exponent FROM currencies ORDER BY currency_code"
# The first writer decides; a writer at the same moment waits for the first one and reads its row.
_KEEP: Final = """
INSERT INTO currencies (currency_code, exponent, first_use_time) VALUES ($1, $2, defter_now())
ON CONFLICT (currency_code) DO UPDATE SET exponent = COALESCE(currencies.exponent, excluded.exponent)
RETURNING exponent
"""


async def read_kept(pool: Pool) -> dict[str, int | None]:
    """Return all currencies in use; None for one whose decimal places nobody has stated yet."""
    return {row["currency_code"]: row["exponent"] for row in await pool.fetch(_READ)}


async def keep(pool: Pool, currency_code: str, exponent: int) -> int:
    """Keep a currency's decimal places unless they are kept already; return what is kept."""
    kept: int = await pool.fetchval(_KEEP, currency_code, exponent)
    return kept
