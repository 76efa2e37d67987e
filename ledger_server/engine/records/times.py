"""Owns the conversion between times and protobuf timestamps."""

from datetime import UTC, datetime
from typing import cast

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp


def timestamp(moment: datetime) -> Timestamp:
    """Return a UTC datetime as a protobuf timestamp, exact to the microsecond."""
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def moment(message: Timestamp) -> datetime:
    """Return a protobuf timestamp as a UTC datetime, cut to the microsecond."""
    return message.ToDatetime(tzinfo=UTC)


def put(field: Timestamp, moment: datetime | None) -> None:
    """Set a message's field to a time, unless there is none."""
    if moment is not None:
        field.FromDatetime(moment)


def moment_in(message: Message, name: str) -> datetime | None:
    """Return the time in a message's field; None where it isn't set."""
    return moment(cast("Timestamp", getattr(message, name))) if message.HasField(name) else None
