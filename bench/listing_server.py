"""Own a provider that lists as many captures as one likes, each made up when it is asked for.

Run as `python -m bench.listing_server --port N --count M …`; it speaks MockPSP's `/v1/records`. That it holds
nothing leaves the machine's memory to what is measured.
"""

import argparse
import socket
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import msgspec
import uvicorn

from bench.mirror import AMOUNT_MINOR, CURRENCY_CODE, Mirror
from bench.stack import HOST


class Listing:
    """The captures of a mirror, newest first."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror

    def page(self, query: Mapping[str, str]) -> bytes:
        """Return a page as the API does."""
        mirror = self._mirror
        newest = min(mirror.count, mirror.place_before(_time(query["created_to"])))
        if "cursor" in query:
            newest = min(newest, int(query["cursor"]) - 1)
        oldest = max(1, mirror.place_before(_time(query["created_from"])) + 1)
        last = max(oldest, newest - int(query["limit"]) + 1)
        rows = [self._row(place) for place in range(newest, last - 1, -1)]
        more = bool(rows) and last > oldest
        return msgspec.json.encode({"data": rows, "next_cursor": str(last) if more else ""})

    def _row(self, place: int) -> dict[str, Any]:
        mirror = self._mirror
        return {
            "kind": "payment",
            "type": "capture",
            "id": mirror.capture_ref(place),
            "object_id": mirror.capture_ref(place),
            "payment_id": mirror.payment_ref(place),
            "reference": mirror.deposit_id(place),
            "batch_id": "",
            "state": "succeeded",
            "amount_minor": AMOUNT_MINOR,
            "currency": CURRENCY_CODE,
            "created_at": mirror.time_of(place).isoformat(),
        }

    async def __call__(self, scope: Any, _: Any, send: Any) -> None:
        """Answer one request."""
        assert scope["type"] == "http"
        query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self.page(query)})


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--begin", type=datetime.fromisoformat, required=True)
    parser.add_argument("--seconds", type=float, required=True, help="in which all of them were made")
    order = parser.parse_args()
    mirror = Mirror(
        count=order.count, begin=order.begin.astimezone(UTC), span=timedelta(seconds=order.seconds)
    )
    with socket.create_server((HOST, order.port)) as listening:
        config = uvicorn.Config(Listing(mirror), log_level="warning", lifespan="off", access_log=False)
        uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
