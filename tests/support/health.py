"""Own the way to ask a server for its health."""

from __future__ import annotations

from typing import Any

import grpc
from grpc_health.v1.health_pb2_grpc import HealthStub


def health(channel: grpc.aio.Channel) -> Any:
    """Return the stub of the health service, whose types name no method."""
    return HealthStub(channel)
