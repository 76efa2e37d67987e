"""Owns the report of an unexpected failure: an id for the caller, everything else for the log."""

import secrets

import structlog

from ledger_server.domain.errors import Internal

log = structlog.get_logger()


def report(error: BaseException, event: str, **facts: object) -> Internal:
    """Log an unexpected error under a new id and return the refusal that carries the id."""
    error_id = secrets.token_hex(8)
    log.error(event, error_id=error_id, exc_info=error, **facts)
    return Internal(error_id=error_id)
