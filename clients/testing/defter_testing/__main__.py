"""Owns `python -m defter_testing`: a fake for tests in other languages, as a process of its own."""

import argparse
import signal
import sys

from defter_testing.fake import FakeLedger
from ledger_server.domain.clock import system_clock


def main() -> None:
    """Serve until SIGINT or SIGTERM; the first line of the output is the address."""
    parser = argparse.ArgumentParser(prog="python -m defter_testing", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port; 0 takes any that is free (the default)")
    parser.add_argument("--tenant", action="append", default=[], help="a tenant to begin with; repeatable")
    words = parser.parse_args()
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # before the threads, which inherit it
    # Nobody can move the clock of another process, so it is the machine's.
    with FakeLedger(host=words.host, port=words.port, clock=system_clock) as fake:
        for tenant_id in words.tenant:
            fake.new_tenant(tenant_id)
        sys.stdout.write(f"{fake.target}\n")
        sys.stdout.flush()
        signal.sigwait(signals)


if __name__ == "__main__":
    main()
