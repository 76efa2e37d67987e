"""The vendors' own webhook vectors, each through HTTP: their verdict is ours."""

from __future__ import annotations

import base64
import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.edge.harness import NAME, FakeLedger, an_endpoint, running_edge
from tests.support.clock import START, FakeClock

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "conformance" / "webhook-vectors.json").read_text()
)["vectors"]
SCHEMES = {"stripe": "stripe", "adyen": "adyen", "standardwebhooks": "standard"}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
async def test_deliver_vector_of_a_vendor_has_its_verdict(vector: dict[str, Any]) -> None:
    """Accepted is forwarded and a success; anything else is 400 or 401 and never forwarded."""
    scheme = SCHEMES[vector["provider"]]
    secrets = vector.get("secrets") or [vector["hmac_key"]]
    clock = FakeClock(datetime.fromtimestamp(vector["now"], UTC) if "now" in vector else START)
    ledger = FakeLedger()
    async with running_edge(an_endpoint(*secrets, scheme=scheme), ledger=ledger, clock=clock) as edge:
        answer = await edge.deliver(
            body_of(vector), vector.get("header", {}), path=f"/webhooks/{scheme}/{NAME}"
        )

    if vector["expect"] == "accept":
        assert answer.status_code == 200
        assert len(ledger.calls) == 1
    else:
        assert answer.status_code in {400, 401}
        assert ledger.calls == []


def body_of(vector: dict[str, Any]) -> bytes:
    """Return the bytes of a vector; an Adyen item comes in the envelope that it always has."""
    if "payload_b64" in vector:
        return base64.b64decode(vector["payload_b64"])
    envelope = {"live": "false", "notificationItems": [{"NotificationRequestItem": vector["item"]}]}
    return json.dumps(envelope).encode()


def test_vectors_are_all_there() -> None:
    """A vector that has gone missing would be a proof less."""
    assert Counter((vector["provider"], vector["expect"]) for vector in VECTORS) == {
        ("stripe", "accept"): 3,
        ("stripe", "reject"): 10,
        ("adyen", "accept"): 15,
        ("adyen", "reject"): 4,
        ("standardwebhooks", "accept"): 2,
        ("standardwebhooks", "reject"): 1,
    }
