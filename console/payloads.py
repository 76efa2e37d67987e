"""Owns how the body of a provider's webhook is shown: as text, JSON in lines, whatever is in it."""

import json
from dataclasses import dataclass
from typing import Final

SHOWN: Final = 4_000
"""Characters that are shown at once."""
MOST: Final = 200_000
"""Characters that are shown in all; a body has up to 1 MiB."""
_BYTES: Final = 2_000
_DEEPEST: Final = 50


@dataclass(frozen=True, slots=True)
class Payload:
    """A body as text.

    Attributes:
        kind: `json`, `text` or `bytes` (written as hexadecimal digits).
        rest: what comes behind the beginning; empty if nothing does.
        is_cut: whether even the rest is not all.
    """

    kind: str
    beginning: str
    rest: str
    is_cut: bool
    byte_count: int


def payload_of(body: bytes) -> Payload:
    """Return a body as text; nothing of it is computed, and a number keeps the digits that it came with."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return _cut("bytes", body[:_BYTES].hex(" "), len(body), is_cut=len(body) > _BYTES)
    try:
        # Numbers stay as they are written: 1e400 and 0.1 are no floats of ours.
        found = json.loads(
            text,
            parse_float=_Written,
            parse_int=_Written,
            parse_constant=_Written,
            object_pairs_hook=_Members,
        )
        return _cut("json", _lines(found), len(body))
    except (ValueError, RecursionError):
        return _cut("text", text, len(body))


class _Written(str):
    """A number of a body, as it is written there."""

    __slots__ = ()


class _Members(list[tuple[str, object]]):
    """An object of a body: of two members with one name both are shown."""


def _lines(found: object) -> str:
    return "".join(_parts(found, ""))


def _parts(found: object, indent: str) -> list[str]:
    if len(indent) > 2 * _DEEPEST:
        raise RecursionError
    deeper = indent + "  "
    match found:
        case _Members():
            members = [
                "".join([deeper, json.dumps(name, ensure_ascii=False), ": ", *_parts(value, deeper)])
                for name, value in found
            ]
            return ["{\n", ",\n".join(members), f"\n{indent}}}"] if members else ["{}"]
        case list() if found:
            items = ["".join([deeper, *_parts(value, deeper)]) for value in found]
            return ["[\n", ",\n".join(items), f"\n{indent}]"]
        case _Written():
            return [str(found)]
        case _:
            return [json.dumps(found, ensure_ascii=False)]


def _cut(kind: str, text: str, byte_count: int, *, is_cut: bool = False) -> Payload:
    return Payload(
        kind=kind,
        beginning=text[:SHOWN],
        rest=text[SHOWN:MOST],
        is_cut=is_cut or len(text) > MOST,
        byte_count=byte_count,
    )
