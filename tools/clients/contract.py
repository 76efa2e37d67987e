"""Own the RPCs of the contract as clients need them: what each takes and answers, and how it is used."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor

PROTO_ROOT: Final = Path(__file__).parents[2] / "protos"
_RPC: Final = re.compile(r"^  rpc (\w+)\(")
_SERVICE: Final = re.compile(r"^service (\w+)")


class Use(Enum):
    """How a client uses an RPC."""

    READ = "read"
    """One request, one response, no key."""
    KEYED = "keyed"
    """One request with a key, one response."""
    LIST = "list"
    """Pages."""
    STREAM = "stream"
    """One request, many responses."""
    KEYED_STREAM = "keyed stream"
    """One request with a key, many responses."""
    CLIENT_STREAM = "client stream"
    """Many requests, one response."""
    BOTH_STREAMS = "both streams"
    """Many requests, many responses."""


@dataclass(frozen=True)
class Rpc:
    """An RPC.

    Attributes:
        service: without its package, such as `PostingService`.
        name: such as `PostTransaction`.
        path: `/package.Service/Method`.
        request, response: the messages.
        comment: what the proto says of it, lines joined.
        items: of a list, the response's field with the items, else empty.
        item: of a list, the message of one.
    """

    service: str
    name: str
    path: str
    request: Descriptor
    response: Descriptor
    use: Use
    comment: str
    items: str = ""
    item: Descriptor | None = None


def rpcs() -> list[Rpc]:
    """Return all RPCs, in the order of the protos."""
    return [rpc for file in _files() for rpc in _rpcs_of(file)]


def messages() -> dict[str, str]:
    """Return the modules of all messages and enums that stand at the top of a proto, by name.

    Raises:
        ValueError: two have the same name, so that one module can't offer both.
    """
    found: dict[str, str] = {}
    for file in _files():
        for name in (*file.message_types_by_name, *file.enum_types_by_name):
            if name in found:
                raise ValueError(f"{name} is in {found[name]} and in {file.name}")
            found[name] = module_of(file)
    return found


def enum_values(name: str) -> list[str]:
    """Return the names of an enum's values; an empty list for a message."""
    for file in _files():
        if name in file.enum_types_by_name:
            return [value.name for value in file.enum_types_by_name[name].values]
    return []


def module_of(file: FileDescriptor) -> str:
    """Return the name of a proto's Python module."""
    return file.name.removesuffix(".proto").replace("/", ".") + "_pb2"


def _files() -> Iterator[FileDescriptor]:
    for path in sorted(PROTO_ROOT.rglob("*.proto")):
        name = ".".join(path.relative_to(PROTO_ROOT).with_suffix("").parts) + "_pb2"
        yield import_module(name).DESCRIPTOR


def _rpcs_of(file: FileDescriptor) -> Iterator[Rpc]:
    comments = _comments(PROTO_ROOT / file.name)
    for service in file.services_by_name.values():
        for method in service.methods:
            use, items = _use(method)
            yield Rpc(
                service=service.name,
                name=method.name,
                path=f"/{service.full_name}/{method.name}",
                request=method.input_type,
                response=method.output_type,
                use=use,
                comment=comments[service.name, method.name],
                items="" if items is None else items.name,
                item=None if items is None else items.message_type,
            )


def _use(method: Any) -> tuple[Use, FieldDescriptor | None]:
    if method.client_streaming:
        return (Use.BOTH_STREAMS if method.server_streaming else Use.CLIENT_STREAM), None
    # GetOutcome has a key as well: that of another call, which it asks about.
    keyed = "idempotency_key" in method.input_type.fields_by_name and method.name != "GetOutcome"
    if method.server_streaming:
        return (Use.KEYED_STREAM if keyed else Use.STREAM), None
    if "page_token" in method.input_type.fields_by_name:
        [items] = [field for field in method.output_type.fields if field.is_repeated and field.message_type]
        return Use.LIST, items
    return (Use.KEYED if keyed else Use.READ), None


def _comments(proto: Path) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    service = ""
    comment: list[str] = []
    for line in proto.read_text(encoding="utf-8").splitlines():
        if begun := _SERVICE.match(line):
            service = begun[1]
        if line.startswith("  //"):
            comment.append(line.removeprefix("  //").strip())
            continue
        if rpc := _RPC.match(line):
            found[service, rpc[1]] = " ".join(filter(None, comment))
        comment = []
    return found
