"""Owns the warning that an account will have to be continued; it is given after the commit is durable."""

from collections.abc import Sequence

import structlog

from ledger_server.domain.ledger.turnover import share_passed
from ledger_server.engine import metrics
from ledger_server.store.ledger_rows import JournalRow

log = structlog.get_logger()


def warn_of_turnover(tenant_id: str, rows: Sequence[JournalRow]) -> None:
    """Warn of the accounts that a commit has taken past a share of what they can count."""
    for row in rows:
        for line in getattr(row.fact, "lines", ()):
            share = share_passed(line)
            if share is not None:
                metrics.TURNOVER_WARNINGS.labels(percent=str(share)).inc()
                log.warning(
                    "an account has used much of what its counters hold: continue it (ContinueAccount)",
                    tenant_id=tenant_id,
                    account_id=line.account.account_id,
                    direction=line.direction.name,
                    percent=share,
                )
