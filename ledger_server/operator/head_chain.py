"""Owns the proof that a journal extends published heads: its chain, recomputed from the first record on."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Final, NamedTuple

from defter.ledger.v1 import journal_pb2, tenant_pb2
from google.protobuf.message import DecodeError

from ledger_server.operator.head_form import FiledHead

_NO_CHAIN_HASH: Final = bytes(32)


class ChainBreak(NamedTuple):
    """The first record at which a journal does not extend a head.

    Attributes:
        sequence: of the record.
        line: where the head begins in its file; None where the journal contradicts itself.
    """

    sequence: int
    line: int | None
    text: str


class EpochSeen(NamedTuple):
    """An epoch, and the record with which it began."""

    epoch: str
    sequence: int


class ChainWalk:
    """Recomputes the chain of one tenant, record by record, and compares it with the heads on the way.

    Nothing that the server says of a record is believed but its bytes: sequence, tenant, chain hash and epoch
    are those that follow from the bytes of all records before.
    """

    def __init__(self, tenant_id: str, heads: Sequence[FiledHead]) -> None:
        """Begin before the first record.

        Args:
            heads: of this tenant, one or more, in any order.
        """
        self._tenant_id = tenant_id
        self._heads: defaultdict[int, list[FiledHead]] = defaultdict(list)
        for each in sorted(heads, key=lambda each: (each.head.sequence, each.line)):
            self._heads[each.head.sequence].append(each)
        self.sequence = 0
        self.chain_hash = _NO_CHAIN_HASH
        self.epoch = ""
        self.epochs: list[EpochSeen] = []
        self.held: list[FiledHead] = []
        """The heads that the journal extends as far as it was read."""

    def take(self, entry: journal_pb2.JournalEntry) -> ChainBreak | None:
        """Take the next record; return what is wrong with it, after which there is nothing to go on with."""
        sequence = self.sequence + 1
        if entry.sequence != sequence:
            return ChainBreak(sequence, None, f"the record is missing: record {entry.sequence} comes instead")
        chain_hash = hashlib.sha256(self.chain_hash + entry.record_bytes).digest()
        if chain_hash != entry.chain_hash:
            return ChainBreak(
                sequence,
                None,
                "the record was altered, or its chain hash: its bytes give"
                f" {chain_hash.hex()}, and {entry.chain_hash.hex()} is stored",
            )
        try:
            record = journal_pb2.JournalRecord.FromString(entry.record_bytes)
        except DecodeError:
            return ChainBreak(sequence, None, "the record can't be read")
        if (record.sequence, record.tenant_id) != (sequence, self._tenant_id):
            return ChainBreak(
                sequence, None, f"the record says that it is record {record.sequence} of {record.tenant_id!r}"
            )
        self.sequence, self.chain_hash = sequence, chain_hash
        if record.WhichOneof("fact") == "epoch_begun":
            self.epoch = record.epoch_begun.epoch
            self.epochs.append(EpochSeen(self.epoch, sequence))
        return self._compare()

    def end(self, tenant: tenant_pb2.Tenant) -> ChainBreak | None:
        """Compare the end of the journal with its head, and with heads that are beyond it.

        Args:
            tenant: as it was read before the first record.
        """
        if self.sequence < tenant.head_sequence:
            return ChainBreak(
                self.sequence + 1,
                None,
                "the record is missing: nothing follows, and the tenant's newest record is"
                f" {tenant.head_sequence}",
            )
        if self.chain_hash != tenant.head_chain_hash:
            return ChainBreak(
                self.sequence,
                None,
                f"the journal's chain hash is {self.chain_hash.hex()},"
                f" and the tenant's {tenant.head_chain_hash.hex()}",
            )
        if self.epoch != tenant.head_epoch:
            return ChainBreak(
                self.sequence,
                None,
                f"the journal is in {_in_epoch(self.epoch)}, and the tenant in"
                f" {_in_epoch(tenant.head_epoch)}: no record says so",
            )
        return self._beyond(f"the journal ends at record {self.sequence}, in {_in_epoch(self.epoch)}")

    def no_tenant(self) -> ChainBreak | None:
        """Return what is wrong where there is no such tenant, and so no journal."""
        return self._beyond("there is no such tenant")

    def _beyond(self, end: str) -> ChainBreak | None:
        """Return the first head that was published beyond the end of the journal."""
        beyond = min((each for each in self._heads if each > self.sequence), default=None)
        if beyond is None:
            return None
        first = self._heads[beyond][0]
        return ChainBreak(
            beyond,
            first.line,
            f"the record is missing: {end}, and the head of {first.head.told_time} was published of this"
            f" record, in {_in_epoch(first.head.epoch)}",
        )

    def _compare(self) -> ChainBreak | None:
        """Compare the record that was taken with the heads published of it."""
        for each in self._heads.get(self.sequence, ()):
            told = f"the head of {each.head.told_time} was published"
            if each.head.chain_hash != self.chain_hash:
                since = f", which began at record {self.epochs[-1].sequence}" if self.epochs else ""
                return ChainBreak(
                    self.sequence,
                    each.line,
                    f"{told} of another record, with chain hash {each.head.chain_hash.hex()} in"
                    f" {_in_epoch(each.head.epoch)}; today's has {self.chain_hash.hex()} in"
                    f" {_in_epoch(self.epoch)}{since}: this record or one before it is not what it was",
                )
            if each.head.epoch != self.epoch:
                return ChainBreak(
                    self.sequence,
                    each.line,
                    f"{told} in {_in_epoch(each.head.epoch)}, and the record is of {_in_epoch(self.epoch)}",
                )
            self.held.append(each)
        return None


def _in_epoch(epoch: str) -> str:
    return f"epoch {epoch}" if epoch else "no epoch"
