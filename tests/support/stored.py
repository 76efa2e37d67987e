"""Own strategies for every stored struct, made from the types of its fields, and a walk through all fields.

Nothing here names a field, so a new field is filled, changed and checked from its first day.
"""

from __future__ import annotations

import os
import types
import typing
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Final, NamedTuple, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from ledger_server.domain.ledger.amounts import AmountBounds

EXAMPLES: Final = int(os.environ.get("DEFTER_TEST_EXAMPLES", "10"))
"""How many values are tried per type; one is enough to notice a missing line (`tools/mutate.py`)."""
# What PostgreSQL and protobuf can both hold.
_TEXT: Final = st.text(st.characters(codec="utf-8", exclude_characters="\x00", exclude_categories=["Cs"]))
_FIRST: Final = datetime(2, 1, 1, tzinfo=UTC)
_SCALARS: Final[Mapping[Any, st.SearchStrategy[Any]]] = {
    # Small enough for all numbers that are sent or summed up; the bounds have tests of their own.
    int: st.integers(min_value=1, max_value=2**31 - 1),
    bool: st.booleans(),
    str: _TEXT.filter(bool).map(lambda text: text[:12]),
    bytes: st.binary(min_size=16, max_size=16),
    timedelta: st.integers(min_value=1, max_value=10**6).map(lambda seconds: timedelta(seconds=seconds)),
    AmountBounds: st.builds(AmountBounds),
    datetime: st.integers(min_value=1, max_value=2**56).map(
        lambda passed: _FIRST + timedelta(microseconds=passed)
    ),
}


class Place(NamedTuple):
    """A field somewhere within a struct: the names and indexes that lead to it, and its type."""

    path: tuple[str | int, ...]
    type: Any

    @property
    def name(self) -> str:
        """The names alone, joined by dots: what an exception is listed by."""
        return ".".join(step for step in self.path if isinstance(step, str))


def any_of(kind: Any) -> st.SearchStrategy[Any]:
    """Return values of a type with nothing left out: no None, no empty text, no empty collection."""
    options = _without_none(kind)
    if len(options) > 1:
        return st.one_of([any_of(option) for option in options])
    [only] = options
    if only in _SCALARS:
        return _SCALARS[only]
    if get_origin(only) is tuple:
        [item, *_] = get_args(only)
        return st.lists(any_of(item), min_size=1, max_size=2).map(tuple)
    if get_origin(only) is not None and issubclass(get_origin(only), Mapping):
        key, value = get_args(only)
        return st.dictionaries(any_of(key), any_of(value), min_size=1, max_size=2)
    if isinstance(only, type) and issubclass(only, Enum):
        return st.sampled_from([member for member in only if member.value])
    if isinstance(only, type) and issubclass(only, Struct):
        return st.builds(only, **{name: any_of(field) for name, field in fields_of(only).items()})
    raise AssertionError(f"no values are known of {only}")


def fields_of(kind: type[Struct]) -> Mapping[str, Any]:
    """Return the types of a struct's fields by name."""
    return {name: get_type_hints(kind)[name] for name in kind.__struct_fields__}


def places_of(value: Struct, path: tuple[str | int, ...] = ()) -> Iterator[Place]:
    """Yield all fields of a struct and of the structs within it."""
    for name, kind in fields_of(type(value)).items():
        here = (*path, name)
        yield Place(here, kind)
        inner = getattr(value, name)
        if isinstance(inner, Struct):
            yield from places_of(inner, here)
        elif isinstance(inner, tuple):
            for index, item in enumerate(inner):
                if isinstance(item, Struct):
                    yield from places_of(item, (*here, index))


def with_other(value: Struct, path: tuple[str | int, ...], other: Any) -> Any:
    """Return a struct with another value at one place."""
    [name, *rest] = path
    assert isinstance(name, str)
    if rest:
        inner = getattr(value, name)
        if isinstance(inner, tuple):
            [index, *deeper] = rest
            assert isinstance(index, int)
            items = list(inner)
            items[index] = with_other(items[index], tuple(deeper), other)
            other = tuple(items)
        else:
            other = with_other(inner, tuple(rest), other)
    return replace(value, **{name: other})


def at(value: Struct, path: tuple[str | int, ...]) -> Any:
    """Return the value at one place of a struct."""
    found: Any = value
    for step in path:
        found = getattr(found, step) if isinstance(step, str) else found[step]
    return found


def others(place: Place, value: Any) -> st.SearchStrategy[Any]:
    """Return other values for a place; None is one of them if the type allows it."""
    strategy = any_of(place.type)
    if type(None) in get_args(place.type):
        strategy |= st.none()
    if isinstance(value, tuple | Mapping):
        strategy |= st.just(type(value)())
    return strategy.filter(lambda other: other != value)


def _without_none(kind: Any) -> tuple[Any, ...]:
    if get_origin(kind) in (Union, types.UnionType, typing.Union):
        return tuple(option for option in get_args(kind) if option is not type(None))
    return (kind,)
