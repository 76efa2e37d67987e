"""Own how far a reader of the journal has come, and the check that one record follows another."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Self

from defter.ledger.v1 import journal_pb2

_HASH_BYTES = 32


class JournalBroken(Exception):
    """What came does not follow what came before: a record is missing, comes twice, or was altered."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A place in a journal: everything up to it was delivered.

    Attributes:
        sequence: of the last record; 0 at the beginning.
        chain_hash: of that record, 32 bytes; empty where it is not known, and the next one is not checked.
    """

    sequence: int = 0
    chain_hash: bytes = bytes(_HASH_BYTES)

    def __str__(self) -> str:
        """Return it as one text, for `parse`."""
        return f"{self.sequence}:{self.chain_hash.hex()}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what `str` made a text of; `28` alone is a sequence without a hash.

        Raises:
            ValueError: it is no such text.
        """
        sequence, _, digest = text.partition(":")
        chain_hash = bytes.fromhex(digest)
        if not sequence.isdecimal() or not sequence.isascii() or len(chain_hash) not in (0, _HASH_BYTES):
            raise ValueError(f"not a checkpoint: {text!r}")
        if int(sequence) == 0 and not chain_hash:
            return cls()
        return cls(int(sequence), chain_hash)

    def after(self, entry: journal_pb2.JournalEntry, *, verify: bool) -> Checkpoint:
        """Return the place behind the next record.

        Args:
            verify: whether the record's bytes have to be those that its chain hash was made of.
        Raises:
            JournalBroken: the record is not the next one, or its bytes or its hash are others.
        """
        if entry.sequence != self.sequence + 1:
            raise JournalBroken(f"record {entry.sequence} came after record {self.sequence}")
        if verify and self.chain_hash:
            wanted = hashlib.sha256(self.chain_hash + entry.record_bytes).digest()
            if wanted != entry.chain_hash:
                raise JournalBroken(f"record {entry.sequence} does not have the chain hash of its bytes")
        return Checkpoint(entry.sequence, entry.chain_hash)
