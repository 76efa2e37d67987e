"""Owns the comparison of two values that should be equal: the first field in which they differ."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from defter.ledger.v1 import journal_pb2
from google.protobuf.message import Message
from msgspec import Struct
from msgspec.structs import asdict

ABSENT = "absent"
PRESENT = "present"


class FieldDifference(NamedTuple):
    """The field in which two values differ, and the content of both."""

    path: str
    expected: str
    actual: str


class Different(Exception):
    """The journal and what is stored, or the journal and the rules, differ."""

    def __init__(self, sequence: int, subject: str, expected: object, actual: object) -> None:
        super().__init__(subject)
        self.sequence = sequence
        self.difference = journal_pb2.Difference(
            sequence=sequence, subject=subject, expected=text_of(expected), actual=text_of(actual)
        )


def first_of(found: Sequence[Different]) -> Different | None:
    """Return the difference at the lowest sequence; of several there, the one found first."""
    return min(found, key=lambda different: different.sequence, default=None)


def text_of(value: object) -> str:
    """Return a value for a person to read."""
    if value is None:
        return ABSENT
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def fields_that_differ(expected: Struct, actual: Struct) -> FieldDifference:
    """Return the first field in which two unequal structs of one kind differ."""
    return _of_mappings(asdict(expected), asdict(actual))


def rows_that_differ(names: Sequence[str], expected: Sequence[Any], actual: Sequence[Any]) -> FieldDifference:
    """Return the first column in which two unequal rows differ."""
    return _of_mappings(dict(zip(names, expected, strict=True)), dict(zip(names, actual, strict=True)))


def messages_that_differ(expected: Message, actual: Message, path: str = "") -> FieldDifference | None:
    """Return the first field in which two messages of one kind differ; None if they are equal."""
    for field in expected.DESCRIPTOR.fields:
        at = f"{path}.{field.name}" if path else field.name
        ours, theirs = getattr(expected, field.name), getattr(actual, field.name)
        if field.is_repeated:
            found = _of_repeated(field, ours, theirs, at)
        elif field.has_presence and expected.HasField(field.name) != actual.HasField(field.name):
            there = (PRESENT, ABSENT) if expected.HasField(field.name) else (ABSENT, PRESENT)
            found = FieldDifference(at, *there)
        elif isinstance(ours, Message):
            found = messages_that_differ(ours, theirs, at)
        else:
            found = _of_values(ours, theirs, at)
        if found is not None:
            return found
    return None


def _of_repeated(field: Any, ours: Any, theirs: Any, path: str) -> FieldDifference | None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return (
            None if dict(ours) == dict(theirs) else FieldDifference(path, str(dict(ours)), str(dict(theirs)))
        )
    if len(ours) != len(theirs):
        return FieldDifference(path, f"{len(ours)} of them", f"{len(theirs)} of them")
    for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        at = f"{path}[{index}]"
        found = (
            messages_that_differ(one, other, at) if isinstance(one, Message) else _of_values(one, other, at)
        )
        if found is not None:
            return found
    return None


def _of_mappings(expected: Mapping[str, object], actual: Mapping[str, object]) -> FieldDifference:
    for name, value in expected.items():
        if value != actual[name]:
            if isinstance(value, Struct) and isinstance(actual[name], Struct):
                inner = fields_that_differ(value, actual[name])  # type: ignore[arg-type]
                return inner._replace(path=f"{name}.{inner.path}")
            return FieldDifference(name, text_of(value), text_of(actual[name]))
    raise AssertionError("they are equal")


def _of_values(ours: object, theirs: object, path: str) -> FieldDifference | None:
    return None if ours == theirs else FieldDifference(path, text_of(ours), text_of(theirs))
