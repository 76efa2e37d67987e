"""Owns journal entries as bytes, so that a record need not be decoded to be sent."""

from ledger_server.engine.records.wire_format import length_delimited, varint
from ledger_server.store.queries.journal import Entry


def entry_bytes(entry: Entry, *, bytes_only: bool) -> bytes:
    """Return an entry as a serialized `JournalEntry`.

    Args:
        bytes_only: leave out the field `record`, which repeats the same bytes as a message.
    """
    record = b"" if bytes_only else length_delimited(2, entry.record)
    return b"".join(
        (
            b"\x08",  # field 1, a varint
            varint(entry.sequence),
            record,
            length_delimited(3, entry.record),
            length_delimited(4, entry.chain_hash),
        )
    )
