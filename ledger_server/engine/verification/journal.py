"""Owns the check of the journal, piece by piece: chain, rules, rows, statement lines, ended holds."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from defter.ledger.v1 import journal_pb2
from google.protobuf.message import DecodeError

from ledger_server.domain.decisions.replay import Inconsistent, Replay
from ledger_server.domain.errors import Refused
from ledger_server.domain.ids import TenantIds, TenantKey, epochs_text
from ledger_server.domain.ledger.holds import Hold, HoldState
from ledger_server.domain.state.commands import Method, RequestKey
from ledger_server.domain.state.facts import Fact, HoldCaptured, HoldChanged
from ledger_server.engine.courtesy import Courtesy
from ledger_server.engine.records.journal import NO_CHAIN_HASH, RecordEncoder, caller_of, chain, reversible
from ledger_server.engine.records.times import moment
from ledger_server.engine.verification.differences import (
    ABSENT,
    PRESENT,
    Different,
    fields_that_differ,
    first_of,
    messages_that_differ,
    rows_that_differ,
    text_of,
)
from ledger_server.engine.verification.reenact import reenact, reversed_sequence
from ledger_server.store import ledger_rows
from ledger_server.store.database import AnyConnection
from ledger_server.store.ledger_rows import JournalRow
from ledger_server.store.queries import verification
from ledger_server.store.queries.transactions import PostedRecord
from ledger_server.store.queries.verification import (
    JOURNAL_COLUMNS,
    POSTING_COLUMNS,
    StoredHead,
    StoredRecord,
)

# What is done with a piece as a whole holds the event loop, with this many records for a few milliseconds.
_PIECE: Final = 200
# Which commit a record belonged to can't be told from the record: what is decided ahead in several turns has
# several times.
_CLOSES_BATCH: Final = JOURNAL_COLUMNS.index("closes_batch")


class _Decoded(NamedTuple):
    """A record and its time."""

    record: journal_pb2.JournalRecord
    time: datetime


class JournalCheck:
    """How far a journal has been checked, and the state that follows from the checked part."""

    def __init__(self, tenant_id: str, key: TenantKey, courtesy: Courtesy) -> None:
        self._courtesy = courtesy
        self._slices = courtesy.slices()
        self.key: Final = key
        self.ids: Final = TenantIds(key)
        self._any_ids: Final = TenantIds(key, any_history=True)
        self.replay: Final = Replay(self.ids)
        self.chain_hash = NO_CHAIN_HASH
        self.posting_count = 0
        self.account_count = 0
        self.hold_count = 0
        self.payment_count = 0
        self.event_count = 0
        self.finding_count = 0
        self.adjustment_count = 0
        self._tenant_id = tenant_id
        self._encoder = RecordEncoder(tenant_id, self.ids)
        self._record_time: datetime | None = None
        self._closed = False

    @property
    def sequence(self) -> int:
        """The last record that was checked."""
        return self.replay.sequence

    def hurry(self) -> None:
        """Give others a turn from here on, but no time of rest."""
        self._slices = self._courtesy.slices(rest=0)

    async def advance(self, connection: AnyConnection, until: int) -> None:
        """Check the next piece of the journal, up to a sequence that must exist.

        Raises:
            Different: the first difference of that piece.
        """
        rows = await verification.journal_rows(
            connection, self.key, after=self.sequence, until=until, limit=_PIECE
        )
        if not rows:
            raise Different(self.sequence + 1, "journal record", PRESENT, ABSENT)
        records = _decoded(rows)
        originals = await self._originals(connection, records)
        checked: list[JournalRow] = []
        found: list[Different] = []
        for row, record in zip(rows, records, strict=True):
            try:
                checked.append(self._check(row, record, originals))
            except Different as different:
                # Differences in the lines of earlier records come first.
                found.append(different)
                break
            if self._slices.over:
                await self._slices.give_way()
        found += await self._differing_lines(connection, checked)
        found += await self._differing_holds(connection, checked)
        first = first_of(found)
        if first is not None:
            raise first

    def finish(self, head: StoredHead) -> None:
        """Check the tenant's head against the newest record.

        Raises:
            Different: the head is another one.
        """
        if not self.sequence:
            raise Different(1, "tenant sequence", "1 or more", head.sequence)
        expected = {
            "sequence": self.sequence,
            "chain_hash": self.chain_hash,
            "record_time": self._record_time,
            "enforcement": self.replay.enforcement,
            "create_time": self.replay.create_time,
            "policy": self.replay.policy,
            "adjustment_policy": self.replay.adjustment_policy,
            "epochs": epochs_text(self.ids.epochs),
        }
        for name, value in expected.items():
            stored = getattr(head, name)
            if stored != value:
                raise Different(self.sequence, f"tenant {name}", value, stored)
        if self.replay.awaits_adjustment:
            raise Different(self.sequence + 1, "journal record", PRESENT, ABSENT)
        if not self._closed:
            raise Different(self.sequence, "journal closes_batch", expected=True, actual=False)

    def _check(
        self,
        row: StoredRecord,
        decoded: _Decoded | None,
        originals: Mapping[int, PostedRecord],
    ) -> JournalRow:
        """Check one record and its row; let its fact take effect."""
        sequence = self.sequence + 1
        if row.sequence != sequence:
            raise Different(sequence, "journal record", PRESENT, ABSENT)
        data = row.record
        chain_hash = chain(self.chain_hash, data)
        if row.chain_hash != chain_hash:
            raise Different(sequence, "chain_hash", chain_hash, row.chain_hash)
        if decoded is None:
            raise Different(sequence, "record", "a JournalRecord", "bytes of something else")
        record, record_time = decoded
        if self._record_time is not None and record_time < self._record_time:
            raise Different(sequence, "record record_time", self._record_time, record_time)
        fact = self._decide(decoded, sequence, originals)
        request, digest = _request(record)
        _, expected = self._encoder.encode(
            fact,
            sequence=sequence,
            record_time=record_time,
            request=request,
            digest=digest,
            caller=caller_of(record),
        )
        if expected != data:
            message = journal_pb2.JournalRecord.FromString(expected)
            differing = messages_that_differ(message, record)
            if differing is not None:
                raise Different(sequence, f"record {differing.path}", differing.expected, differing.actual)
        checked = JournalRow(sequence, fact, request, digest, record_time, data, chain_hash, content=b"")
        _check_row(row, checked)
        self.chain_hash = chain_hash
        self._record_time = record_time
        self._closed = row.closes_batch
        return checked

    def _decide(self, decoded: _Decoded, sequence: int, originals: Mapping[int, PostedRecord]) -> Fact:
        record, record_time = decoded
        reverses = reversed_sequence(self.ids, record)
        original = None
        if reverses is not None and reverses < sequence and reverses in originals:
            posted = originals[reverses]
            earlier = posted.reversed_by
            original = reversible(
                posted.record, earlier if earlier is not None and earlier < sequence else None
            )
        subject = f"record {record.WhichOneof('fact')}"
        try:
            return reenact(self.replay, self.ids, record, record_time, original)
        except Refused as refused:
            raise Different(sequence, subject, f"refused: {refused.message}", "recorded") from None
        except (Inconsistent, ValueError) as wrong:
            raise Different(sequence, subject, str(wrong), "recorded") from None

    async def _originals(
        self, connection: AnyConnection, records: Sequence[_Decoded | None]
    ) -> Mapping[int, PostedRecord]:
        """Return the transactions that these records reverse, and perhaps more.

        Epochs that begin among these records are not known yet, so ids are read as of any history; each
        record is checked by those of its own.
        """
        wanted = {
            reversed_sequence(self._any_ids, decoded.record) for decoded in records if decoded is not None
        }
        sequences = [sequence for sequence in wanted if sequence is not None]
        if not sequences:
            return {}
        found = await verification.transactions(connection, self.key, sequences)
        return {posted.sequence: posted for posted in found}

    async def _differing_lines(
        self, connection: AnyConnection, checked: Sequence[JournalRow]
    ) -> list[Different]:
        """Compare the statement lines of these records."""
        width = 3  # account number, sequence and leg name a line
        expected = {values[:width]: values for values in ledger_rows.posting_rows(checked)}
        if not expected:
            return []
        places = sorted({(number, sequence) for number, sequence, _ in expected})
        rows = await verification.posting_rows(connection, self.key, places)
        stored = {row[:width]: row for row in rows}
        self.posting_count += len(expected)
        return [
            _line_difference(self._names(checked), place, expected.get(place), stored.get(place))
            for place in sorted(expected.keys() | stored.keys())
            if expected.get(place) != stored.get(place)
        ]

    def _names(self, checked: Sequence[JournalRow]) -> Mapping[int, str]:
        return {
            line.account.number: line.account.account_id
            for row in checked
            for line in getattr(row.fact, "lines", ())
        }

    async def _differing_holds(
        self, connection: AnyConnection, checked: Sequence[JournalRow]
    ) -> list[Different]:
        """Compare the holds that these records have ended; rows of ended holds never change."""
        ended: dict[int, tuple[int, Hold]] = {}
        for row in checked:
            fact = row.fact
            if isinstance(fact, HoldChanged | HoldCaptured) and fact.hold.state is not HoldState.OPEN:
                ended[fact.hold.number] = (row.sequence, fact.hold)
        if not ended:
            return []
        stored = await verification.numbered_holds(connection, self.key, list(ended))
        self.hold_count += len(ended)
        return [
            hold_difference(self.ids, sequence, hold, stored.get(number))
            for number, (sequence, hold) in ended.items()
            if stored.get(number) != hold
        ]


def hold_difference(ids: TenantIds, sequence: int, expected: Hold | None, stored: Hold | None) -> Different:
    """Return how a stored hold differs from what follows from the journal."""
    known = expected or stored
    assert known is not None
    subject = f"hold {ids.hold_id(known.number)}"
    if expected is None or stored is None:
        return Different(sequence, subject, PRESENT if expected else ABSENT, PRESENT if stored else ABSENT)
    differing = fields_that_differ(expected, stored)
    return Different(sequence, f"{subject} {differing.path}", differing.expected, differing.actual)


def _check_row(row: StoredRecord, checked: JournalRow) -> None:
    [expected] = ledger_rows.journal_rows([checked])
    stored = list(row.values)
    stored[_CLOSES_BATCH] = expected[_CLOSES_BATCH]
    if list(expected) != stored:
        differing = rows_that_differ(JOURNAL_COLUMNS, expected, stored)
        raise Different(checked.sequence, f"journal {differing.path}", differing.expected, differing.actual)


def _decoded(rows: Sequence[StoredRecord]) -> list[_Decoded | None]:
    """Return the decoded records of rows; None if the bytes are no record, or have an impossible time.

    Records of one commit share one time object, which saves making and encoding it again.
    """
    decoded: list[_Decoded | None] = []
    seconds = nanos = -1
    time: datetime | None = None
    for row in rows:
        try:
            record = journal_pb2.JournalRecord.FromString(row.record)
            message = record.record_time
            if time is None or message.seconds != seconds or message.nanos != nanos:
                time = moment(message)
                seconds, nanos = message.seconds, message.nanos
        except (DecodeError, ValueError, OverflowError):
            decoded.append(None)
        else:
            decoded.append(_Decoded(record, time))
    return decoded


def _request(record: journal_pb2.JournalRecord) -> tuple[RequestKey | None, bytes | None]:
    if not record.HasField("request"):
        return None, None
    asked = record.request
    method = Method.__members__.get(asked.method)
    if method is None:
        raise Different(record.sequence, "record request.method", "a known method", asked.method)
    return RequestKey(method, asked.idempotency_key, asked.player_id), asked.digest


def _line_difference(
    names: Mapping[int, str],
    place: tuple[Any, ...],
    expected: tuple[Any, ...] | None,
    stored: tuple[Any, ...] | None,
) -> Different:
    number, sequence, leg = place
    subject = f"posting {names.get(number, text_of(number))} leg {leg}"
    if expected is None or stored is None:
        return Different(sequence, subject, PRESENT if expected else ABSENT, PRESENT if stored else ABSENT)
    differing = rows_that_differ(POSTING_COLUMNS, expected, stored)
    return Different(sequence, f"{subject} {differing.path}", differing.expected, differing.actual)
