"""Owns the provider's side of a comparison: the listed movements of one thing, and how much stands."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from msgspec import Struct

from ledger_server.domain.provider_record import ProviderRecord, ProviderRecordKind, RemoteState

UNFINISHED: Final = (RemoteState.PENDING, RemoteState.AUTHORIZED)


class Level(NamedTuple):
    """How much was ever taken of something and how much stands, minor units, never negative."""

    taken: int = 0
    standing: int = 0


class Listed(Struct, kw_only=True):
    """All listed movements of one thing: the oldest first, and at one moment what failed last."""

    kind: ProviderRecordKind
    ref: str
    records: list[ProviderRecord]

    @property
    def our_id(self) -> str:
        """Our id of it, empty if the provider echoes none."""
        return next((record.our_id for record in self.records if record.our_id), "")

    @property
    def payment_ref(self) -> str:
        """The provider's id of its payment."""
        return next((record.payment_ref for record in self.records if record.payment_ref), self.ref)

    @property
    def objects(self) -> list[list[ProviderRecord]]:
        """The records object by object: of a whole, each part for itself."""
        objects: dict[str, list[ProviderRecord]] = {}
        for record in self.records:
            objects.setdefault(record.provider_ref or record.record_id, []).append(record)
        return list(objects.values())

    @property
    def state(self) -> RemoteState:
        """The state by the newest records: a whole has succeeded as soon as one part stands."""
        objects = self.objects
        if len(objects) == 1:
            return self.records[-1].state
        states = {
            records[-1].state
            for records in objects
            if records[-1].state is not RemoteState.SUCCEEDED or _level(self.kind, records).standing > 0
        }
        order = (RemoteState.SUCCEEDED, *UNFINISHED)
        return next((state for state in order if state in states), self.records[-1].state)

    @property
    def time(self) -> datetime:
        """When the thing moved last; for a whole that stands, when the parts that stand moved."""
        objects = self.objects
        if len(objects) == 1:
            return self.records[-1].create_time
        standing = [records[-1] for records in objects if _level(self.kind, records).standing > 0]
        return max(record.create_time for record in standing or self.records)

    @property
    def exact(self) -> bool:
        """Whether all amounts have a value in the ledger's units."""
        return all(record.amount is not None for record in self.records)

    @property
    def level(self) -> Level:
        """What was taken and what stands, computed per object."""
        levels = [_level(self.kind, records) for records in self.objects]
        return Level(sum(each.taken for each in levels), sum(each.standing for each in levels))

    @property
    def stands(self) -> bool:
        """Whether its money has moved and stayed there."""
        return self.state is RemoteState.SUCCEEDED and self.level.standing > 0


def level_of(kind: ProviderRecordKind, amounts: Iterable[int]) -> Level:
    """Return what movements in order amount to.

    The listing may begin after the first movement. So money that comes back first had been taken before.
    """
    sign = 1 if kind is ProviderRecordKind.PAYMENT else -1
    now = low = high = 0
    for amount in amounts:
        now += sign * amount
        low, high = min(low, now), max(high, now)
    return Level(taken=high - low, standing=now - low)


def listed_of(records: Iterable[ProviderRecord]) -> list[Listed]:
    """Return what is listed, thing by thing, the oldest first; a record that is listed twice counts once."""
    once: dict[tuple[ProviderRecordKind, str], ProviderRecord] = {}
    for record in records:
        known = once.setdefault((record.kind, record.record_id), record)
        # A record may change while the listing is read, and so be read in two states; which of them counts
        # does not depend on the order of reading.
        if record.state > known.state:
            once[record.kind, record.record_id] = record
    things: dict[tuple[ProviderRecordKind, str], Listed] = {}
    for record in sorted(once.values(), key=_order):
        ref = record.provider_ref or record.record_id
        thing = things.setdefault((record.kind, ref), Listed(kind=record.kind, ref=ref, records=[]))
        thing.records.append(record)
    return list(things.values())


def together(things: Sequence[Listed]) -> Listed:
    """Return several things as one, by the first one's name."""
    records = sorted((record for thing in things for record in thing.records), key=_order)
    return Listed(kind=things[0].kind, ref=things[0].ref, records=records)


def _level(kind: ProviderRecordKind, records: Iterable[ProviderRecord]) -> Level:
    return level_of(kind, [record.amount or 0 for record in records])


def _order(record: ProviderRecord) -> tuple[datetime, bool, str]:
    amount = record.amount or 0
    came_back = amount < 0 if record.kind is ProviderRecordKind.PAYMENT else amount > 0
    return record.create_time, came_back, record.record_id
