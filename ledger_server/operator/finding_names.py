"""Owns the names of findings on the command line: an id, or a unique prefix of one."""

import re
from typing import Final

from defter.reconciliation.v1 import finding_pb2 as pb

from defter_client import LedgerClient
from ledger_server.operator.connection import Stopped, pages

_PREFIX: Final = "fnd_"
_WHOLE: Final = re.compile(r"fnd_[0-9a-f]{32}")
_PART: Final = re.compile(r"[0-9a-f]{4,32}")
# A prefix is known to be unique only when all findings were read; this many take seconds.
_MOST: Final = 20_000
_SHOWN: Final = 5


async def whole_id(ledger: LedgerClient, tenant_id: str, name: str) -> str:
    """Return the finding's id for a name.

    Raises:
        Stopped: the name fits no finding, or several, or there are too many findings to check.
    """
    if _WHOLE.fullmatch(name):
        return name
    part = name.removeprefix(_PREFIX)
    if not _PART.fullmatch(part):
        raise Stopped(f"{name!r} is no finding's id: fnd_ and 32 digits, or at least the first 4 of them")
    found: list[str] = []
    read = 0
    request = pb.ListFindingsRequest(tenant_id=tenant_id)
    async for page in pages(ledger.findings.list_findings, request, limit=None):
        ids = [finding.finding_id for finding in page.findings]
        found += [each for each in ids if each.startswith(_PREFIX + part)]
        read += len(ids)
        if read > _MOST:
            raise Stopped(f"there are more than {_MOST:,} findings: say the whole id, not {name!r}")
    # A finding that changes while it is listed may come twice.
    unique = sorted(set(found))
    if len(unique) > 1:
        shown = ", ".join(unique[:_SHOWN])
        raise Stopped(f"{name!r} is ambiguous: {len(unique)} findings begin so, {shown} among them")
    if not unique:
        raise Stopped(f"no finding's id begins with {name!r}")
    return unique[0]
