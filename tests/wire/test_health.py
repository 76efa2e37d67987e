"""Own what the health service answers."""

from __future__ import annotations

import grpc
import pytest
from grpc_health.v1 import health_pb2

from tests.support.health import health
from tests.support.service import Service
from tests.support.wire import refusal


@pytest.mark.parametrize(
    "name",
    [
        "",
        "defter.ready",
        "defter.ledger.v1.HoldService",
        "defter.payments.v1.WithdrawalService",
        "defter.reconciliation.v1.SettlementService",
    ],
)
async def test_check_health_of_service_says_serving(server: Service, name: str) -> None:
    """A load balancer may ask for the server as a whole or for the service that it sends calls to."""
    answer = await health(server.channel).Check(health_pb2.HealthCheckRequest(service=name))

    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_check_health_of_unknown_service_is_refused(server: Service) -> None:
    """A name that is mistyped is no service in good health."""
    request = health_pb2.HealthCheckRequest(service="defter.ledger.v1.Nothing")

    refused = await refusal(health(server.channel).Check(request))

    assert refused.code == grpc.StatusCode.NOT_FOUND
