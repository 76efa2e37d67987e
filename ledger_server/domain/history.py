"""Owns the decision whether a database still has the history that it had: restored, copied or gone on.

The rules are pure: the caller looks at the database and passes in what it found.
"""

from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

TOLD_LATE: Final = timedelta(hours=24)
"""How long before the newest record that is left a provider may have done what the ledger has lost.

What a provider did before that record and told after it is lost as well: a webhook waits while the edge or
the ledger is away, and its delivery went into the lost history. A day holds the retries of a night's outage,
and any difference of two clocks. It is no more, since every account is read over that time before calls go
on. What was told later still pays nobody twice, but credits a player late: `docs/operations/restore.md` has
the run over a longer time."""


def reconciled_from(known_until: datetime) -> datetime:
    """Return from when on the providers are read after a loss.

    Args:
        known_until: the newest record that is left.
    """
    return known_until - TOLD_LATE


class Identity(Struct, frozen=True, kw_only=True):
    """What tells one database from a copy of it.

    Attributes:
        system_identifier: drawn by PostgreSQL when the cluster was made; a dump that is read in elsewhere
            lies in a cluster with another one.
        database_oid: tells a copy within the cluster.
        timeline: PostgreSQL begins another one whenever a standby is promoted or a backup is recovered to
            a point in time.
    """

    system_identifier: str
    database_oid: int
    timeline: int


class Known(Struct, frozen=True, kw_only=True):
    """What the database says of its own history; after a restore this is as old as the backup.

    Attributes:
        epoch: None before a server has opened it for the first time.
        identity: of the database when its epoch began; None before a server has opened it.
    """

    epoch: str | None
    past_epochs: frozenset[str]
    identity: Identity | None


class Found(Struct, frozen=True, kw_only=True):
    """What a database is now.

    Attributes:
        position: how far its write-ahead log is flushed, in bytes.
        written_here: whether the row that tells the history was written by a transaction of this database,
            and was not read in from a dump.
        strange_epoch: the epoch of records in a database that no server has opened yet; else empty.
    """

    identity: Identity
    position: int
    written_here: bool
    strange_epoch: str = ""


class SeenRecord(Struct, frozen=True, kw_only=True):
    """A record that was seen to be committed."""

    tenant_key: int
    sequence: int
    chain_hash: bytes


class Witness(Struct, frozen=True, kw_only=True):
    """What an observer has seen of the database that is not restored together with it.

    Attributes:
        position: how far the database's write-ahead log had been flushed, in bytes; only a restored database
            is ever behind that again.
        loss: which commit was seen to be gone, in words, until another epoch has begun because of it.
        record: the newest record that was committed here; None before the first one. A database that has this
            record has everything that was committed before it.
    """

    epoch: str
    identity: Identity
    position: int
    loss: str = ""
    record: SeenRecord | None = None


def why_another(known: Known, found: Found, witness: Witness | None, *, lacks_record: bool = False) -> str:
    """Return why the database may have lost commits or be a copy; empty where its history goes on.

    Args:
        witness: what was seen of this place.
        lacks_record: whether the journal does not have the witness's record.
    """
    was = known.identity
    if was is not None:
        for name, before, now in (
            ("system identifier", was.system_identifier, found.identity.system_identifier),
            ("database oid", was.database_oid, found.identity.database_oid),
            ("timeline", was.timeline, found.identity.timeline),
        ):
            if before != now:
                return f"the {name} was {before} and is {now}"
        if not found.written_here:
            return "its tables were read in from a dump"
    if found.strange_epoch:
        return f"its records are of epoch {found.strange_epoch}, and no server has opened it yet"
    if witness is None or not same_place(witness.identity, found.identity):
        return ""
    if witness.epoch and witness.epoch not in {known.epoch, *known.past_epochs}:
        return f"epoch {witness.epoch} was seen here, and the database does not know it"
    # The witness tells of an earlier epoch. Its loss is settled: the present epoch began because of it.
    if witness.epoch != (known.epoch or ""):
        return ""
    if witness.loss:
        return witness.loss
    if witness.record is not None and lacks_record:
        seen = witness.record
        return f"record {seen.sequence} of tenant key {seen.tenant_key} was committed and is gone"
    if witness.position > found.position:
        return f"the log had been seen at {_lsn(witness.position)} and ends at {_lsn(found.position)}"
    return ""


def same_place(before: Identity, now: Identity) -> bool:
    """Whether a witness has seen this database, and not another one that the URL named at that time."""
    return (before.system_identifier, before.database_oid) == (now.system_identifier, now.database_oid)


def _lsn(position: int) -> str:
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


NEW: Final = "the database is opened for the first time"
