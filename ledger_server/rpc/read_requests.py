"""Owns the border of reads: the fields that requests of reads and lists share."""

from datetime import datetime, timedelta
from enum import IntEnum
from typing import TypeVar

from google.protobuf.message import Message

from ledger_server.engine.reads.ledger import Span
from ledger_server.rpc.violations import Violations, members

_Enum = TypeVar("_Enum", bound=IntEnum)
_INSTANT = timedelta(microseconds=1)


def tenant_violations(message: Message) -> Violations:
    """Check the fields that all requests with a tenant share."""
    violations = Violations()
    violations.tenant_id(message.tenant_id)  # type: ignore[attr-defined]
    return violations


def optional_account_id(violations: Violations, value: str, path: str) -> str:
    """Allow an account id, or the beginning of one, or nothing."""
    if value:
        violations.account_id(value, path)
    return value


def optional_enum(violations: Violations, value: int, path: str, kind: type[_Enum]) -> _Enum | None:
    """Read an enum filter; unspecified stands for any value."""
    return violations.enum(value, path, members(kind)) if value else None


def span(violations: Violations, message: Message) -> Span:
    """Read a stretch of time: at or after `start_time`, before `end_time`."""
    return Span(bound(violations, message, "start_time"), bound(violations, message, "end_time"))


def bound(violations: Violations, message: Message, name: str) -> datetime | None:
    """Read a time that bounds a window: records at or after it, and records before it.

    The ledger counts microseconds: a bound between two microseconds is rounded up.
    """
    found = violations.time(message, name)
    if (
        found is not None
        and getattr(message, name).nanos % 1_000
        and found < datetime.max.replace(tzinfo=found.tzinfo)
    ):
        found += _INSTANT
    return found
