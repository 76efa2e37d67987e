"""Owns the form of a published head: a checkpoint as c2sp.org/tlog-checkpoint has it, of a hash chain.

The size is the newest record's sequence and the hash its chain hash. A hash chain is no Merkle tree, and a
line says so: nobody can make inclusion proofs from such a head.
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple, Self

from signed_notes.notes import (
    KeyUnknown,
    Note,
    NoteMalformed,
    SignatureWrong,
    VerifierKey,
    split_notes,
)

FORM: Final = "defter hash chain 1"
"""The line that names form and version."""

_NO_EPOCH: Final = "none"
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
_TEXT: Final = re.compile(
    r"(?P<key_name>[^\n]+)/(?P<tenant_id>[a-z][a-z0-9-]{0,62})\n"
    r"(?P<sequence>[1-9][0-9]{0,18})\n"
    r"(?P<chain_hash>[A-Za-z0-9+/]{43}=)\n"
    rf"{FORM}\n"
    rf"epoch (?P<epoch>{_NO_EPOCH}|[0-9a-hjkmnp-tv-z]{{8}})\n"
    r"time (?P<time>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedHead:
    """How far a tenant's journal was, as somebody outside of it keeps it.

    Attributes:
        key_name: the publisher's; with the tenant it is the checkpoint's origin.
        sequence: of the newest record, from 1.
        chain_hash: that record's, 32 bytes.
        epoch: the one in which that record was written; empty before the first.
        time: when the head was read, by the publisher's clock, UTC, in whole seconds.
    """

    key_name: str
    tenant_id: str
    sequence: int
    chain_hash: bytes
    epoch: str
    time: datetime

    @property
    def text(self) -> str:
        """The text that is signed."""
        return (
            f"{self.key_name}/{self.tenant_id}\n{self.sequence}\n"
            f"{base64.b64encode(self.chain_hash).decode()}\n{FORM}\n"
            f"epoch {self.epoch or _NO_EPOCH}\ntime {self.told_time}\n"
        )

    @property
    def told_time(self) -> str:
        """The time as text."""
        return self.time.strftime(_TIME)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the head that has this text, to the byte. Raises NoteMalformed."""
        found = _TEXT.fullmatch(text)
        if found is None:
            raise NoteMalformed(f"not a head of the form {FORM!r}")
        epoch = found["epoch"]
        try:
            time = datetime.strptime(found["time"], _TIME).replace(tzinfo=UTC)
        except ValueError:
            raise NoteMalformed("the head's time is none") from None
        head = cls(
            key_name=found["key_name"],
            tenant_id=found["tenant_id"],
            sequence=int(found["sequence"]),
            chain_hash=base64.b64decode(found["chain_hash"]),
            epoch="" if epoch == _NO_EPOCH else epoch,
            time=time,
        )
        if head.text != text:
            raise NoteMalformed("the head is not written as it should be")
        return head


class FiledHead(NamedTuple):
    """A head in a file, its note and the line where it begins."""

    line: int
    head: PublishedHead
    note: Note


class FileBroken(Exception):
    """A file has something that is no head, or whose signature is not of its text; the text says where."""


class SignerUnknown(Exception):
    """A head is signed by no key that is known; the text says where, and by whom."""


def read_heads(content: bytes) -> list[FiledHead]:
    """Return the heads that a file has, in its order, without checking signatures. Raises FileBroken."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FileBroken(f"line {line}: not UTF-8") from None
    heads = []
    for line, each in split_notes(text):
        try:
            note = Note.parse(each)
            heads.append(FiledHead(line, PublishedHead.parse(note.text), note))
        except NoteMalformed as error:
            raise FileBroken(f"line {line}: {error}") from None
    return heads


def check_signatures(heads: Sequence[FiledHead], keys: Sequence[VerifierKey]) -> None:
    """Check that each head is signed by the known key that its origin names, and by no known key wrongly.

    Raises:
        FileBroken: a signature is not of its text.
        SignerUnknown: a head is signed by none of the keys.
    """
    for line, head, note in heads:
        where = f"line {line} (tenant {head.tenant_id}, record {head.sequence})"
        try:
            signers = note.signed_by(keys)
        except SignatureWrong:
            raise FileBroken(f"{where}: the signature is not of this text") from None
        except KeyUnknown:
            signers = []
        if head.key_name not in {each.key.name for each in signers}:
            names = ", ".join(str(each.key) for each in note.signatures)
            raise SignerUnknown(f"{where}: signed by {names}; give the public key of {head.key_name}")


def contradiction(published: Sequence[FiledHead], head: PublishedHead) -> str:
    """Return why a head can't follow those that were published before; empty if it may.

    Only a newer record of the same origin, or the same one again, follows. Whether the records between are
    those that they were `defter head check` says.
    """
    same = [
        each.head
        for each in published
        if (each.head.key_name, each.head.tenant_id) == (head.key_name, head.tenant_id)
    ]
    newest = max(same, key=lambda each: each.sequence, default=head)
    if newest.sequence > head.sequence:
        return (
            f"record {newest.sequence} was published at {newest.told_time}, and the journal ends at record"
            f" {head.sequence}"
        )
    if any(
        each.sequence == head.sequence and (each.chain_hash, each.epoch) != (head.chain_hash, head.epoch)
        for each in same
    ):
        return f"another record {head.sequence} was published at {newest.told_time}"
    return ""
