"""Own the reasons of `error.proto` as clients need them: code, kind, and the facts with their types.

The proto's comments are the contract: each reason ends with its gRPC code, and names its facts behind
`Metadata:`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

ERROR_PROTO: Final = Path(__file__).parents[2] / "protos" / "defter" / "ledger" / "v1" / "error.proto"

_VALUE: Final = re.compile(r"^  ERROR_REASON_([A-Z0-9_]+) = (\d+);$")
_CODES: Final = (
    "INVALID_ARGUMENT",
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "DEADLINE_EXCEEDED",
    "UNAVAILABLE",
    "INTERNAL",
    "ABORTED",
    "ALREADY_EXISTS",
    "NOT_FOUND",
    "OUT_OF_RANGE",
    "FAILED_PRECONDITION",
)
_INTEGER_ENDS: Final = ("_minor", "_count", "_bytes", "_places", "_version", "_sequence", "_line")
_INTEGERS: Final = frozenset({"count", "limit", "index", "line", "version"})
_RETRY_CODES: Final = frozenset({"UNAVAILABLE", "RESOURCE_EXHAUSTED", "ABORTED", "DEADLINE_EXCEEDED"})
_LAST_UNDECIDED: Final = 99
"""Reasons up to here say that this call has decided nothing."""
_RETRY_LATER: Final = frozenset({"NOT_YET_RECORDED", "RECONCILIATION_UNDER_WAY"})
_AS_ABOVE: Final = "as above"


class Kind(Enum):
    """What a caller does about an error."""

    RETRY = "retry"
    REQUEST = "request"
    ACCESS = "access"
    REFUSED = "refused"
    FAULT = "fault"


class FactType(Enum):
    """How a fact, which travels as text, is read."""

    TEXT = "text"
    INTEGER = "integer"
    TIME = "time"


@dataclass(frozen=True)
class Reason:
    """A reason.

    Attributes:
        name: without its prefix, such as `INSUFFICIENT_FUNDS`.
        number: its value in the enum.
        comment: the whole comment, lines joined.
        code: the gRPC code, such as `NOT_FOUND`.
        kind: what to do about it.
        facts: its metadata by name, in the order of the comment.
    """

    name: str
    number: int
    comment: str
    code: str
    kind: Kind
    facts: dict[str, FactType]


def reasons(proto: Path = ERROR_PROTO) -> list[Reason]:
    """Return all reasons but the unspecified one, in the order of the proto.

    Raises:
        ValueError: a comment names no code, so clients would not know what to do.
    """
    found: list[Reason] = []
    comment: list[str] = []
    for line in proto.read_text(encoding="utf-8").splitlines():
        if line.startswith("  // "):
            comment.append(line.removeprefix("  // "))
        elif value := _VALUE.match(line):
            name, number = value[1], int(value[2])
            if number:
                found.append(_reason(name, number, " ".join(comment), found))
            comment = []
        else:
            comment = []
    return found


def fact_type(name: str) -> FactType:
    """Return how the fact of a name is read."""
    if name in _INTEGERS or name.endswith(_INTEGER_ENDS):
        return FactType.INTEGER
    return FactType.TIME if name.endswith("_time") else FactType.TEXT


def kind_of(name: str, number: int, code: str) -> Kind:
    """Return what a caller does about a reason."""
    if code in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        return Kind.ACCESS
    if code == "INTERNAL":
        return Kind.FAULT
    if name in _RETRY_LATER or (code in _RETRY_CODES and number <= _LAST_UNDECIDED and name not in _NO_RETRY):
        return Kind.RETRY
    if code == "INVALID_ARGUMENT" or name == "IDEMPOTENCY_KEY_REUSED":
        return Kind.REQUEST
    return Kind.REFUSED


# Aborted, but the same call would be aborted again: an item of the batch is to blame, or the lines moved.
_NO_RETRY: Final = frozenset({"BATCH_ABORTED", "IMPORT_CHANGED"})


def _reason(name: str, number: int, comment: str, before: list[Reason]) -> Reason:
    said, _, told = comment.partition("Metadata:")
    code = next((each for each in _CODES if re.search(rf"\b{each}\b", said)), None)
    if code is None:
        raise ValueError(f"error.proto names no gRPC code at {name}")
    # The last code of the sentence counts: reasons are spelt like codes, such as ALREADY_EXISTS.
    code = max((each for each in _CODES if re.search(rf"\b{each}\b", said)), key=said.rfind)
    facts = (
        before[-1].facts
        if told.strip().startswith(_AS_ABOVE)
        else {each: fact_type(each) for each in re.findall(r"`([a-z][a-z0-9_]*)`", _only_facts(told))}
    )
    return Reason(name, number, comment, code, kind_of(name, number, code), facts)


def _only_facts(told: str) -> str:
    # In brackets stand the values that a fact may have, and not facts.
    return re.sub(r"\([^)]*\)", "", told)
