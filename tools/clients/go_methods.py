"""Own the methods of the Go client: one for each RPC, by how it is used."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import groupby
from operator import attrgetter
from typing import Final

from google.protobuf.descriptor import Descriptor

from tools.clients.contract import Rpc, Use, rpcs

_MODULE: Final = "defter.example/defter/clients/go/gen"
_ALIAS: Final = re.compile(r"\b([a-z]+)v1\.")
# Written by hand: both go on after a break.
_BY_HAND: Final = frozenset({"WatchJournal", "StreamTransactions"})
# Services of one thing, so their names have no plural.
_SINGLE: Final = frozenset({"Journal", "Outbound", "Reconciliation", "Backfill"})
_CHANGES_NOTHING: Final = ("Get", "List", "BatchGet", "Count")


def services(comment: Callable[[str], str]) -> str:
    """Return the Go of all services, not yet formatted.

    Args:
        comment: writes a text as a comment.
    """
    found = rpcs()
    body = [_holder(sorted({rpc.service for rpc in found}))]
    for service, own in groupby(found, key=attrgetter("service")):
        told = comment(f"{service} has the RPCs of that service.")
        body.append(f"{told}\ntype {service} struct {{ client *Client }}\n")
        body.extend(text for rpc in own if rpc.name not in _BY_HAND for text in _methods(rpc, comment))
    text = "\n".join(body)
    return f"package defter\n\nimport (\n{_imports(text)}\n)\n\n{text}"


def _holder(names: list[str]) -> str:
    fields = "\n".join(f"{_field(name)} *{name}" for name in names)
    values = "\n".join(f"client.{_field(name)} = &{name}{{client}}" for name in names)
    return (
        "// Services are all that a ledger has; they are part of the [Client].\n"
        f"type Services struct {{\n{fields}\n}}\n\n"
        f"func (client *Client) addServices() {{\n{values}\n}}\n"
    )


def _field(service: str) -> str:
    name = service.removesuffix("Service")
    return name if name in _SINGLE else f"{name}s"


def _methods(rpc: Rpc, comment: Callable[[str], str]) -> Iterator[str]:
    yield comment(f"{rpc.name} calls the RPC of that name. {rpc.comment}")
    yield _function(rpc, *_method(rpc))
    if rpc.use is Use.LIST:
        response = _go(rpc.response)
        yield comment(f"{rpc.name}Pages is {rpc.name} by whole responses.")
        body = f"return pages[{response}]({_arguments(rpc)})"
        yield _function(rpc, f"iter.Seq2[*{response}, error]", body, name=f"{rpc.name}Pages")


def _method(rpc: Rpc) -> tuple[str, str, str]:
    """Return what a method answers, its body, and what it takes beside context and options."""
    request, response = _go(rpc.request), _go(rpc.response)
    takes = f"request *{request}"
    match rpc.use:
        case Use.KEYED:
            return f"(*Keyed[*{response}], error)", f"return keyed[{response}]({_arguments(rpc)})", takes
        case Use.READ:
            changes = "false" if rpc.name.startswith(_CHANGES_NOTHING) else "true"
            return f"(*{response}, error)", f"return plain[{response}]({_arguments(rpc)}, {changes})", takes
        case Use.LIST:
            assert rpc.item is not None
            getter = f"(*{response}).Get{_camel(rpc.items)}"
            body = f"return items(s.{rpc.name}Pages(ctx, request, options...), {getter})"
            return f"iter.Seq2[*{_go(rpc.item)}, error]", body, takes
        case Use.STREAM | Use.KEYED_STREAM:
            changes = "true" if rpc.use is Use.KEYED_STREAM else "false"
            body = f"return received[{response}]({_arguments(rpc)}, {changes})"
            return f"iter.Seq2[*{response}, error]", body, takes
        case Use.CLIENT_STREAM:
            body = f"return sent[{response}](ctx, s.client, {_path(rpc)}, requests, options)"
            return f"(*{response}, error)", body, f"requests iter.Seq[*{request}]"
        case Use.BOTH_STREAMS:
            body = f"return opened[*{request}, {response}](ctx, s.client, {_path(rpc)}, options)"
            return f"(*Stream[*{request}, {response}], error)", body, ""


def _function(rpc: Rpc, answers: str, body: str, takes: str | None = None, *, name: str = "") -> str:
    if takes is None:
        takes = f"request *{_go(rpc.request)}"
    taken = ", ".join(filter(None, ("ctx context.Context", takes, "options ...CallOption")))
    return f"func (s *{rpc.service}) {name or rpc.name}({taken}) {answers} {{\n{body}\n}}\n"


def _arguments(rpc: Rpc) -> str:
    return f"ctx, s.client, {_path(rpc)}, request, options"


def _path(rpc: Rpc) -> str:
    return f"{_alias(rpc.request)}.{rpc.service}_{rpc.name}_FullMethodName"


def _go(message: Descriptor) -> str:
    """Return the name of a message in Go, such as `ledgerv1.TrialBalance_Line`."""
    name = message.full_name.removeprefix(f"{message.file.package}.")
    return f"{_alias(message)}.{name.replace('.', '_')}"


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _alias(message: Descriptor) -> str:
    _, name, version = message.file.package.split(".")
    return f"{name}{version}"


def _imports(text: str) -> str:
    names = sorted(set(_ALIAS.findall(text)))
    own = "\n".join(f'{each}v1 "{_MODULE}/defter/{each}/v1"' for each in names)
    return f'"context"\n"iter"\n\n{own}'
