"""Own the texts of the console that are to be translated: found in its code and templates, and compared."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from babel.messages.extract import extract_from_dir

from console.catalogue import FOLDER, LANGUAGES, texts

_SOURCE: Final = FOLDER.parent
_METHODS: Final = [("**.py", "python"), ("templates/**.html", "jinja2.ext:babel_extract")]
_KEYWORDS: Final[dict[str, None]] = {"_": None, "N_": None}


def found_texts() -> dict[str, str]:
    """Return each text with the file that has it."""
    extracted = extract_from_dir(
        _SOURCE, _METHODS, keywords=_KEYWORDS, options_map={"templates/**.html": {"silent": "false"}}
    )
    return {message: file for file, _, message, *_ in extracted if isinstance(message, str) and message}


def main() -> int:
    """Print what a language lacks, as lines for its catalogue."""
    missing = 0
    for language in LANGUAGES:
        if language == "en":
            continue
        known = texts(language)
        for text, file in sorted(found_texts().items()):
            if text and text not in known.known:
                missing += 1
                quoted = text.replace("\\", "\\\\").replace('"', '\\"')
                print(f'# {Path(file).name}\nmsgid "{quoted}"\nmsgstr ""\n')
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
