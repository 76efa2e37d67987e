"""Owns the making of the gRPC server: its options, and whether it asks for calls ahead."""

from collections.abc import Sequence
from typing import Any, Final

import grpc

from ledger_server.rpc.calls_ahead import CallsAheadRefused
from ledger_server.rpc.serving import MAX_MESSAGE_BYTES

CHANNEL_OPTIONS: Final = (
    # Room above our own limit, so that a message that is a little too large gets our own answer.
    ("grpc.max_receive_message_length", 2 * MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", 16 * MAX_MESSAGE_BYTES),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # By default gRPC drops calls at random with a bare CANCELLED once a thousand have arrived that are
    # not begun. A burst is the lane's to take or to refuse by name, so that limit lies beyond the lane's.
    ("grpc.server.max_pending_requests", 16_384),
    ("grpc.server.max_pending_requests_hard_limit", 32_768),
    # It also cancels, as barely, what has waited in it for 30 s. How long to wait is the caller's to say.
    ("grpc.server_max_unrequested_time_in_server", 600),
)


def open_server(options: Sequence[tuple[str, Any]], *, calls_ahead: int) -> grpc.aio.Server:
    """Return a server that is not started yet.

    Args:
        options: channel arguments.
        calls_ahead: how many calls it asks gRPC for at any time; 0: it is the stock server of `grpc.aio`,
            of which nothing is overridden, so any version of grpcio will do.
    Raises:
        CallsAheadRefused: the installed grpcio is not one that the override was written for.
    """
    if not calls_ahead:
        return grpc.aio.server(options=options)
    # The module needs a private class of grpcio at import, which another version may not have.
    try:
        from ledger_server.rpc import intake  # noqa: PLC0415
    except (ImportError, AttributeError, TypeError) as error:
        raise CallsAheadRefused(f"it has no such server class ({error})") from None
    return intake.open_server(options, calls_ahead)
