"""Owns the statement that a journal was checked: its text, and the signed note (c2sp.org/signed-note).

A statement is no published head (`defter head`): its first lines say what it is, so that neither can be taken
for the other, even by the same key.
"""

import base64
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from console.outside import visible
from defter_client import messages as m
from signed_notes.notes import KeyMalformed, SignerKey

FORM: Final = "defter statement of verification 1"
"""The line that names form and version."""
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"


class KeyUnusable(ValueError):
    """The key for statements can't be read, or is none."""


def read_key(file: Path) -> SignerKey:
    """Return the key in a file, as `defter head key` writes it.

    Raises:
        KeyUnusable: it can't be used.
    """
    try:
        return SignerKey.parse(file.read_text().removesuffix("\n"))
    except OSError as error:
        raise KeyUnusable(f"{file}: {error.strerror}") from None
    except (KeyMalformed, UnicodeDecodeError):
        raise KeyUnusable(f"{file}: no key for notes (`defter head key` makes one)") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a check has found.

    Attributes:
        name: of the key; with the tenant it is the first line, as in a published head.
        person: who asked for the check.
        begin: by the console's clock, like `end`.
    """

    name: str
    tenant_id: str
    result: m.VerifyResult
    person: str
    begin: datetime
    end: datetime

    @property
    def text(self) -> str:
        """The text that is signed; one line each, so that what others have written can add none."""
        result = self.result
        if result.HasField("first_difference"):
            difference = result.first_difference
            found = [
                "result DIFFERS",
                f"difference at record {difference.sequence}",
                f"subject {_line(difference.subject)}",
                f"expected {_line(difference.expected)}",
                f"stored {_line(difference.actual)}",
            ]
        else:
            found = ["result agrees"]
        lines = [
            f"{self.name}/{_line(self.tenant_id)}",
            FORM,
            f"records 1 to {result.sequence}",
            f"chain hash {base64.b64encode(result.chain_hash).decode()}",
            *found,
            f"compared {result.account_count} accounts",
            f"compared {result.hold_count} holds",
            f"compared {result.posting_count} lines of accounts",
            f"compared {result.payment_count} payments",
            f"compared {result.provider_event_count} provider events",
            f"compared {result.finding_count} findings",
            f"asked by {_line(self.person)}",
            f"begun {self.begin.strftime(_TIME)}",
            f"ended {self.end.strftime(_TIME)}",
        ]
        return "".join(f"{line}\n" for line in lines)

    def signed(self, key: SignerKey) -> str:
        """Return the statement with a signature."""
        return str(key.sign(self.text))


def _line(text: str) -> str:
    """Return a text without ends of lines and other unseen characters."""
    return visible(text.replace("\n", " ").replace("\t", " "))
