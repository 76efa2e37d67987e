"""Owns how a check of heads is shown: in sentences, or as JSON, one object for each tenant."""

import json
from collections.abc import Sequence

from ledger_server.operator.connection import Exit, complain
from ledger_server.operator.head_chain import ChainBreak, ChainWalk
from ledger_server.operator.head_form import FiledHead
from ledger_server.operator.screen import console, print_line


def print_checked(
    tenant_id: str, heads: Sequence[FiledHead], walk: ChainWalk, broken: ChainBreak | None, *, as_json: bool
) -> None:
    """Print what came of a check.

    Args:
        broken: None if the journal extends all heads.
    """
    if as_json:
        console().print(json.dumps(_fields(tenant_id, heads, walk, broken)), soft_wrap=True)
    else:
        for line in _sentences(tenant_id, heads, walk):
            print_line(console(), line)
    if broken is not None:
        where = "" if broken.line is None else f" (line {broken.line})"
        complain(f"{tenant_id}: BROKEN at record {broken.sequence}{where}: {broken.text}", Exit.FOUND)


def print_failure(tenant_id: str, error: str, *, as_json: bool) -> None:
    """Print why a tenant could not be checked."""
    if as_json:
        console().print(json.dumps({"tenant_id": tenant_id, "error": error}), soft_wrap=True)
    complain(f"{tenant_id}: {error}", Exit.REFUSED)


def _sentences(tenant_id: str, heads: Sequence[FiledHead], walk: ChainWalk) -> list[str]:
    held = f"{len(walk.held)} of {len(heads)} heads hold"
    if walk.held:
        last = walk.held[-1].head
        held += f", the last one of record {last.sequence} at {last.told_time}"
    epoch = f", epoch {walk.epoch}" if walk.epoch else ""
    first = min(each.head.sequence for each in heads)
    return [
        f"{tenant_id}: {held}; {walk.sequence} records are unbroken{epoch}",
        *(
            f"{tenant_id}: since the first head epoch {seen.epoch} has begun, at record {seen.sequence}: if"
            " the database was restored, copied or promoted, commits may be lost"
            for seen in walk.epochs
            if seen.sequence > first
        ),
    ]


def _fields(
    tenant_id: str, heads: Sequence[FiledHead], walk: ChainWalk, broken: ChainBreak | None
) -> dict[str, object]:
    return {
        "tenant_id": tenant_id,
        "head_count": len(heads),
        "held_count": len(walk.held),
        "held_sequence": walk.held[-1].head.sequence if walk.held else 0,
        "sequence": walk.sequence,
        "chain_hash": walk.chain_hash.hex(),
        "epochs": [{"epoch": seen.epoch, "sequence": seen.sequence} for seen in walk.epochs],
        "broken": broken and {"sequence": broken.sequence, "line": broken.line, "text": broken.text},
    }
