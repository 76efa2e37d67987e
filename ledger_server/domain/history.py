"""Owns when a database's history is another one than before: by what it was, is, and was seen to be.

Pure: whoever looks at the database passes in what was found.
"""

from typing import Final

from msgspec import Struct


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
    """What the database says of its own history: as old as the backup, if it was restored.

    Attributes:
        epoch: None before a server has opened it for the first time.
        identity: what the database was then; None likewise.
    """

    epoch: str | None
    past_epochs: frozenset[str]
    identity: Identity | None


class Witness(Struct, frozen=True, kw_only=True):
    """What was seen of the database by somebody who is not restored together with it.

    Attributes:
        position: how far its write-ahead log had been flushed; a database that was not restored is never
            behind that again.
    """

    epoch: str
    identity: Identity
    position: int


NEW: Final = "the database is opened for the first time"


def why_another(known: Known, found: Identity, position: int, witness: Witness | None) -> str:
    """Return why the database may have lost commits or be a copy, in words; empty where its history goes on.

    Args:
        found: what the database is now.
        position: how far its write-ahead log is flushed now.
    """
    was = known.identity
    if was is not None:
        for name, before, now in (
            ("system identifier", was.system_identifier, found.system_identifier),
            ("database oid", was.database_oid, found.database_oid),
            ("timeline", was.timeline, found.timeline),
        ):
            if before != now:
                return f"the {name} was {before} and is {now}"
    if witness is None or not _same_place(witness.identity, found):
        return ""
    if witness.epoch not in {known.epoch, *known.past_epochs}:
        return f"epoch {witness.epoch} was seen here, and the database does not know it"
    if witness.position > position:
        return f"the log had been seen at {_lsn(witness.position)} and ends at {_lsn(position)}"
    return ""


def _same_place(before: Identity, now: Identity) -> bool:
    """Whether a witness speaks of this database at all, and not of another that the URL named then."""
    return (before.system_identifier, before.database_oid) == (now.system_identifier, now.database_oid)


def _lsn(position: int) -> str:
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"
