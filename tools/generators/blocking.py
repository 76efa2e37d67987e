"""Own the making of the blocking client from the asynchronous one; run by the environment of the generators.

Usage: python blocking.py FROM TO
"""

import sys
from pathlib import Path

import unasync

REPLACED = {
    "_async": "_blocking",
    "aio": "threads",
    "LedgerClient": "BlockingLedgerClient",
    "AsyncIterable": "Iterable",
}
"""Names, beside those of the language, that are others in the blocking client."""
HEAD = "# Generated from {source} by `make gen`: do not edit.\n"


def main() -> None:
    """Write the blocking twin of each module."""
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    rule = unasync.Rule(f"/{source.name}/", f"/{target.name}/", REPLACED)
    files = sorted(source.rglob("*.py"))
    unasync.unasync_files([str(path) for path in files], [rule])
    for path in files:
        made = target / path.relative_to(source)
        text = made.read_text(encoding="utf-8")
        for before, after in (
            (
                "the asynchronous client; `_blocking` is generated from it",
                "the blocking client, generated from `_async`",
            ),
            ("async with ", "with "),
            ("await ", ""),
            (" LedgerClient", " BlockingLedgerClient"),
            ("`LedgerClient", "`BlockingLedgerClient"),
        ):
            text = text.replace(before, after)
        made.write_text(HEAD.format(source=f"{source.name}/{path.name}") + text, encoding="utf-8")


if __name__ == "__main__":
    main()
