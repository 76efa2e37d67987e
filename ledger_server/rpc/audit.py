"""Owns the lines of the audit log: who was refused what, and which persons read the money of players.

A line has names and ids alone: no amount, no text of a request, no proof. What is no well-formed id may be
anything, a secret too, so it is not repeated.
"""

import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final

import grpc
from google.protobuf.message import Message
from msgspec import Struct
from msgspec.structs import asdict

from ledger_server.domain.errors import Refused
from ledger_server.rpc.audit_limit import AuditLimit
from ledger_server.rpc.errors import code_of

Write = Callable[[bytes], None]
"""Takes a line; it neither waits nor fails."""

OK: Final = "OK"
MALFORMED: Final = "(malformed)"
DENIED: Final = frozenset({grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED})
SUBJECTS: Final = (
    "account_id",
    "account_ids",
    "player_id",
    "withdrawal_id",
    "deposit_id",
    "payment_id",
    "hold_id",
    "transaction_id",
    "adjustment_id",
    "provider_event_id",
    "finding_id",
    "debit_account_id",
    "batch_id",
    "run_id",
)
"""Fields that say what a request is about; the first that has something is told."""

_ID: Final = re.compile(r"[A-Za-z0-9_.:@-]{1,128}")
_NAME: Final = re.compile(r"[!-~]{1,255}")
_MOST_IDS: Final = 5
_LEFT_OUT_SECONDS: Final = 10.0
_MOST_KEYS: Final = 1_024


class AuditLine(Struct, frozen=True, kw_only=True):
    """One line.

    Attributes:
        time: of the server's own clock, ISO 8601.
        event: `refused`, `read` or `left out`.
        identity: what was proved; empty if nothing was.
        person: who called or was acted for, or whom a refused service named.
        tenant_id: empty if the request names none; `*` for all tenants together.
        verdict: `OK`, or the reason of the refusal.
        left_out: how many lines like this one were left out since the last one.
    """

    time: str
    event: str
    identity: str
    person: str
    method: str
    tenant_id: str
    subject: str
    verdict: str
    request_id: str
    peer: str
    left_out: int

    def encoded(self) -> bytes:
        """Return the line as JSON, with its end."""
        return json.dumps({"logger": "audit", **asdict(self)}).encode() + b"\n"


class Audit:
    """Writes lines, refusals of one caller at a bounded rate; reads by persons are all written."""

    def __init__(self, write: Write, now: Callable[[], datetime]) -> None:
        """Take where lines go, and a clock."""
        self._write = write
        self._now = now
        self._limit: AuditLimit[tuple[str, bool]] = AuditLimit(
            per_second=10, burst=100, all_per_second=200, all_burst=1_000
        )

    def read(self, **facts: str) -> None:
        """Tell that a person has read money of players."""
        self._tell("read", OK, 0, facts)

    def refused(self, refused: Refused, **facts: str) -> None:
        """Tell that a call, or an item of one, was refused.

        What was denied and what was refused for another reason have bounds of their own: who fails often does
        not hide what they may not do.
        """
        key = (facts["identity"], code_of(refused) in DENIED)
        left_out = self._limit.admit(key, self._now().timestamp())
        if left_out is not None:
            self._tell("refused", refused.reason.name, left_out, facts)

    def tell_left_out(self, after_seconds: float = _LEFT_OUT_SECONDS) -> None:
        """Tell what was left out and was followed by no other line."""
        now = self._now().timestamp()
        for (identity, denied), count in self._limit.overdue(
            now, after_seconds=after_seconds, most_keys=_MOST_KEYS
        ):
            verdict = "denied" if denied else "refused"
            self._tell("left out", verdict, count, {"identity": identity})

    def _tell(self, event: str, verdict: str, left_out: int, facts: dict[str, str]) -> None:
        names = ("person", "method", "tenant_id", "subject", "request_id", "peer", "identity")
        told = {name: facts.get(name, "") for name in names}
        self._write(
            AuditLine(
                time=self._now().isoformat(), event=event, verdict=verdict, left_out=left_out, **told
            ).encoded()
        )


def subject_of(request: object) -> str:
    """Return what a request is about: an id, or the first few of several with how many more there are."""
    if not isinstance(request, Message):
        return ""
    ids = list(_ids(request))
    if not ids:
        return ""
    told = [each if _ID.fullmatch(each) else MALFORMED for each in ids[:_MOST_IDS]]
    return ",".join(told) + (f" and {len(ids) - _MOST_IDS} more" if len(ids) > _MOST_IDS else "")


def tenant_told(tenant_id: str | None) -> str:
    """Return a request's tenant, or that it is none."""
    if not tenant_id or tenant_id == "*" or _ID.fullmatch(tenant_id):
        return tenant_id or ""
    return MALFORMED


def person_told(text: str) -> str:
    """Return a person's name, or that it is none."""
    return text if not text or _NAME.fullmatch(text) else MALFORMED


def _ids(request: Any) -> Iterator[str]:
    fields = request.DESCRIPTOR.fields_by_name
    for name in SUBJECTS:
        if name in fields and (found := getattr(request, name)):
            yield from found if fields[name].is_repeated else (found,)
            return
    if "account" in fields:
        yield request.account.account_id
    elif "transaction" in fields:
        yield from dict.fromkeys(posting.account_id for posting in request.transaction.postings)
