"""Owns the command line: `python -m mock_psp` runs the provider until SIGTERM or SIGINT."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence

from mock_psp.errors import InvalidRequest
from mock_psp.knobs import Knobs
from mock_psp.server import serve


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the provider; a wrong word on the command line is a clear exit."""
    parser = argparse.ArgumentParser(prog="mock_psp", description="Run a payment provider that pays nobody.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes any")
    parser.add_argument("--token", default="", help="bearer token that callers must show")
    parser.add_argument("--webhook-url", help="where events are posted to")
    parser.add_argument(
        "--webhook-secret", action="append", default=[], help="whsec_…; may be given several times"
    )
    parser.add_argument("--settle-seconds", type=float, help="how soon things happen by themselves")
    parser.add_argument("--fee-minor", type=int, help="fee on each capture")
    parser.add_argument("--manual", action="store_true", help="let nothing happen by itself")
    parser.add_argument("--seed", type=int, help="make the same ids again; for tests alone")
    options = parser.parse_args(arguments)
    try:
        asyncio.run(_run(options))
    except (InvalidRequest, OSError) as error:
        sys.stderr.write(f"can't start: {error}\n")
        return 1
    return 0


async def _run(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serve(
        host=options.host,
        port=options.port,
        token=options.token,
        webhook_url=options.webhook_url,
        webhook_secrets=options.webhook_secret,
        knobs=_knobs(options),
        seed=options.seed,
    ) as psp:
        sys.stdout.write(f"mock psp: {psp.url}\n")
        sys.stdout.flush()
        await stop.wait()


def _knobs(options: argparse.Namespace) -> Knobs:
    knobs = Knobs(auto_complete=not options.manual)
    given = {"settle_seconds": options.settle_seconds, "fee_minor": options.fee_minor}
    knobs.patch({name: value for name, value in given.items() if value is not None})
    return knobs


if __name__ == "__main__":
    sys.exit(main())
