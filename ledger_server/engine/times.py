"""Owns how a time becomes a protobuf timestamp and back."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp


def timestamp(moment: datetime) -> Timestamp:
    """Return a UTC datetime as a protobuf timestamp, exact to the microsecond."""
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def moment(message: Timestamp) -> datetime:
    """Return a protobuf timestamp as a UTC datetime, cut to the microsecond."""
    return message.ToDatetime(tzinfo=UTC)
