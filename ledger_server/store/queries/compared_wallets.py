"""Owns the reads of a comparison of balances: wallets as a record left them, and when they stood where."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from ledger_server.domain.ids import TenantKey
from ledger_server.store.database import AnyConnection

LOOKED_BACK: Final = 1_000
"""So many lines of an account are looked at for an amount at which it stood."""

_COLUMNS: Final = """a.account_number, a.account_id, a.kind, a.currency_code,
    a.continues IS NOT NULL AS continues, a.continued_by IS NOT NULL AS continued,
    p.posted_debits, p.posted_credits"""
# The newest line up to a record has the account's counters as that record left them.
_THEN: Final = """LEFT JOIN LATERAL (
    SELECT posted_debits, posted_credits FROM postings
    WHERE tenant_key = $1 AND account_number = a.account_number AND sequence <= $2
    ORDER BY sequence DESC, leg DESC LIMIT 1
) AS p ON true"""
_OWN: Final = "account_number, account_id, kind, currency_code, continues, continued_by"
_BETWEEN: Final = f"""
SELECT {_COLUMNS} FROM (
    SELECT {_OWN} FROM accounts
    WHERE tenant_key = $1 AND account_id > $3 AND account_id < $4
    ORDER BY account_id LIMIT $5
) AS a {_THEN}
ORDER BY a.account_id
"""
_OF_PLAYERS: Final = f"""
SELECT {_COLUMNS} FROM unnest($3::text[], $4::text[]) AS wanted(low, high)
CROSS JOIN LATERAL (
    SELECT {_OWN} FROM accounts
    WHERE tenant_key = $1 AND account_id > wanted.low AND account_id < wanted.high
    ORDER BY account_id OFFSET 0
) AS a {_THEN}
ORDER BY a.account_id
"""
_SINCE: Final = f"""
SELECT agreed.sequence AS agreed, following.sequence AS following
FROM unnest($3::bigint[], $4::bigint[]) WITH ORDINALITY AS wanted(account_number, net, position)
LEFT JOIN LATERAL (
    SELECT lines.sequence FROM (
        SELECT sequence, leg, posted_credits - posted_debits AS net FROM postings
        WHERE tenant_key = $1 AND account_number = wanted.account_number AND sequence <= $2
        ORDER BY sequence DESC, leg DESC LIMIT {LOOKED_BACK}
    ) AS lines
    WHERE lines.net = wanted.net ORDER BY lines.sequence DESC, lines.leg DESC LIMIT 1
) AS agreed ON true
LEFT JOIN LATERAL (
    SELECT sequence FROM postings
    WHERE tenant_key = $1 AND account_number = wanted.account_number AND sequence > agreed.sequence
    ORDER BY sequence, leg LIMIT 1
) AS following ON true
ORDER BY wanted.position
"""


class WalletAccountThen(NamedTuple):
    """An account as a record left it.

    Attributes:
        number: the record that opened it, which may be a later one.
        debits, credits: None where nothing was posted yet.
    """

    number: int
    account_id: str
    kind: int
    currency: str
    continues: bool
    continued: bool
    debits: int | None
    credits: int | None


class StoodAt(NamedTuple):
    """The newest record after which an account stood at an amount, and the next one on it; None: never."""

    agreed: int | None
    following: int | None


async def accounts_between(
    connection: AnyConnection, key: TenantKey, sequence: int, *, low: str, high: str, size: int
) -> list[WalletAccountThen]:
    """Return the first accounts between two ids, both left out, as a record left them, by id."""
    rows = await connection.fetch(_BETWEEN, key, sequence, low, high, size)
    return [WalletAccountThen(*row) for row in rows]


async def accounts_of_players(
    connection: AnyConnection, key: TenantKey, sequence: int, bounds: Sequence[tuple[str, str]]
) -> list[WalletAccountThen]:
    """Return all accounts between pairs of ids as a record left them, by id."""
    lows, highs = [low for low, _ in bounds], [high for _, high in bounds]
    rows = await connection.fetch(_OF_PLAYERS, key, sequence, lows, highs)
    return [WalletAccountThen(*row) for row in rows]


async def stood_at(
    connection: AnyConnection, key: TenantKey, sequence: int, wanted: Sequence[tuple[int, int]]
) -> list[StoodAt]:
    """Return since when accounts no longer stand at an amount, up to a record, in the order asked for.

    Args:
        wanted: numbers of accounts, and credits less debits.
    """
    numbers, nets = [number for number, _ in wanted], [net for _, net in wanted]
    rows = await connection.fetch(_SINCE, key, sequence, numbers, nets)
    return [StoodAt(row["agreed"], row["following"]) for row in rows]
