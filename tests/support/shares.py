"""Own the shares of handlers that a test makes by itself: large enough for everything."""

from __future__ import annotations

import time

from ledger_server.identity.quotas import Quota, Quotas
from ledger_server.rpc.shares import Shares

_MUCH = Quota(calls_per_second=None, calls_under_way=2**31, bytes_under_way=2**31)


def ample_shares() -> Shares:
    """Return shares for which no call waits, and quotas that refuse none."""
    return Shares(Quotas(lambda _, __: _MUCH, time.monotonic), time.monotonic, share=2**31, heavy=2**31)
