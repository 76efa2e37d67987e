"""Own the generated page of calls by grpcurl: tools/grpcurl/examples.py becomes docs/grpcurl.md.

Run by `make gen`; with --check it changes nothing and fails when the committed page is stale.
"""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from pathlib import Path
from typing import Final

from tools.clients.contract import Rpc, rpcs
from tools.grpcurl.examples import EXAMPLES, REPORT, Call, Example

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "grpcurl.md"
ADDRESS: Final = "127.0.0.1:50051"
_LINE_LENGTH: Final = 110
_INTRODUCTION: Final = """\
# Calls by grpcurl

This page is generated: `make gen` writes it from `tools/grpcurl/examples.py` and the comments of `protos/`.
`tests/wire/test_grpcurl.py` runs each call on it, in this order and against a real server.

A server tells its contract by reflection, so [grpcurl](https://github.com/fullstorydev/grpcurl) needs no file
of it. `ledger` stands for grpcurl with the proof of who calls:

```sh
alias ledger='grpcurl -cacert authority.pem -cert operator.pem -key operator.key'
ledger 127.0.0.1:50051 list
ledger 127.0.0.1:50051 describe defter.ledger.v1.HoldService.PlaceHold
```

`docs/operations/quick-start.md` has it for `make up`; on a server without TLS it is `grpcurl -plaintext`.
Amounts are minor units. A keyed request may be sent again as it is; it is done once. `-d @` reads what is
below: a request, or those of a stream one after the other. `$NAME` is a variable of the shell: set it, as in
`HOLD=hold_…`, to what the page says of an earlier answer. A list with a `next_page_token` goes on with it as
`page_token`. What each field means: `describe`, or the protos.

The calls belong to tenant `casino`, with provider accounts `mock` and `stripe-eu`.
"""


def main() -> int:
    """Write the page, or compare it with a fresh generation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="fail when the committed page differs from a fresh run"
    )
    check = parser.parse_args().check
    fresh = generate()
    committed = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    if not check:
        PAGE.write_text(fresh, encoding="utf-8")
        print(f"gen: {PAGE.name} {'is as it was' if fresh == committed else 'has changed'}")
        return 0
    if fresh == committed:
        print("gen: the committed calls by grpcurl are what their table generates")
        return 0
    sys.stdout.writelines(
        difflib.unified_diff(
            committed.splitlines(keepends=True),
            fresh.splitlines(keepends=True),
            f"committed/{PAGE.name}",
            f"fresh/{PAGE.name}",
        )
    )
    print(f"gen: {PAGE} is stale: run `make gen` and commit it")
    return 1


def generate() -> str:
    """Return the text of the page.

    Raises:
        ValueError: an RPC has no example, or an example no RPC.
    """
    known = {rpc.path: rpc for rpc in rpcs()}
    shown = {path_of(example) for example in EXAMPLES}
    if known.keys() != shown or len(shown) != len(EXAMPLES):
        raise ValueError(f"tools/grpcurl/examples.py and the protos differ: {sorted(known.keys() ^ shown)}")
    return _INTRODUCTION + "".join(_section(example, known[path_of(example)]) for example in EXAMPLES)


def path_of(example: Example) -> str:
    """Return the path of an example's RPC, as `Rpc.path` has it."""
    return f"/defter.{example.service}/{example.method}"


def command(example: Example, call: Call) -> str:
    """Return what is typed."""
    ends = f"-max-time {call.seconds} " if call.seconds else ""
    start = f"ledger {ends}-d @ {ADDRESS} {path_of(example)[1:]}"
    return "\n".join([f"{start} <<JSON", *map(_json, call.messages), "JSON"])


def _json(message: dict[str, object]) -> str:
    line = json.dumps(message, ensure_ascii=False)
    return line if len(line) <= _LINE_LENGTH else json.dumps(message, ensure_ascii=False, indent=2)


def _section(example: Example, rpc: Rpc) -> str:
    service = example.service.rpartition(".")[2]
    lines = [f"\n## {service}/{example.method}\n", _first_sentence(rpc.comment)]
    if example.remark:
        lines[-1] += f" {example.remark}"
    if "report.csv" in str(example.calls):
        lines.append(f"\n`report.csv`:\n\n```csv\n{REPORT}```")
    for call in example.calls:
        lines.append(f"\n```sh\n{command(example, call)}\n```")
        for name, place in call.keeps:
            lines.append(f"\nFrom here on `${name}` is `{place}` of the answer.")
    return "\n".join(lines) + "\n"


def _first_sentence(comment: str) -> str:
    return comment.split(". ", maxsplit=1)[0].rstrip(".") + "."


if __name__ == "__main__":
    sys.exit(main())
