"""Owns the proof that a journal is complete and unaltered, and that what is stored follows from it.

First the journal is read in pieces, each in a database transaction of its own: appended rows never change, so
no snapshot is needed, and a long snapshot would slow the tenant's commits down. For each record the chain is
recomputed, the decision is made again by the rules, and the record, its row, its statement lines and the
holds that it ended are compared with what follows. Then one short snapshot reads the rest of the journal and
compares what can change: the head, all accounts, open holds, and all row counts, so that no row exists that
no record accounts for.

Time grows with the number of records, memory with accounts, open holds, payments and provider events (see
`replay.py`).
"""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from defter.ledger.v1 import journal_pb2

from ledger_server.domain.errors import TenantNotFound
from ledger_server.domain.ids import TenantId, tenant_key
from ledger_server.engine.courtesy import Courtesy
from ledger_server.engine.verification.differences import Different
from ledger_server.engine.verification.journal import JournalCheck
from ledger_server.engine.verification.stored import check_stored
from ledger_server.store.database import Pool
from ledger_server.store.queries.snapshot import report_snapshot
from ledger_server.store.queries.verification import StoredHead, stored_head

_PROGRESS_RECORDS: Final = 5_000
# The snapshot is opened when this few records are left to read. Even a journal that grows faster than it can
# be read is finished inside the snapshot.
_NEARLY: Final = 2_000
_ROUNDS: Final = 10


async def verify(
    pool: Pool, tenant_id: str, courtesy: Courtesy | None = None
) -> AsyncGenerator[journal_pb2.VerifyProgress | journal_pb2.VerifyResult, None]:
    """Verify a tenant's journal; yield progress now and then, and the result at last.

    The result names the first difference. A journal that contradicts itself or its rows comes first; then
    stored accounts and open holds, by the record that the difference goes back to.

    Raises:
        TenantNotFound: there is no such tenant.
    """
    key = tenant_key(TenantId(tenant_id))
    check = JournalCheck(tenant_id, key, courtesy or Courtesy())
    try:
        head = first_head = await _head(pool, tenant_id)
        for _ in range(_ROUNDS):
            async for progress in _read(pool, check, head, first_head.sequence):
                yield progress
            head = await _head(pool, tenant_id)
            if head.sequence - check.sequence < _NEARLY:
                break
        async with pool.acquire(tenant=key) as connection, report_snapshot(connection):
            newest = await stored_head(connection, key)
            assert newest is not None, "tenants are never deleted"
            check.hurry()  # a long snapshot would slow commits down
            while check.sequence < newest.sequence:
                await check.advance(connection, newest.sequence)
            check.finish(newest)
            await check_stored(connection, key, check)
    except Different as different:
        yield _result(check, different.difference)
    else:
        yield _result(check, None)


async def _read(
    pool: Pool, check: JournalCheck, head: StoredHead, first_head: int
) -> AsyncIterator[journal_pb2.VerifyProgress]:
    """Check the journal up to a head."""
    while check.sequence < head.sequence:
        before = check.sequence
        async with pool.acquire(tenant=check.key) as connection:
            await check.advance(connection, head.sequence)
        if check.sequence // _PROGRESS_RECORDS > before // _PROGRESS_RECORDS:
            yield journal_pb2.VerifyProgress(
                sequence=min(check.sequence, first_head), head_sequence=first_head
            )


async def _head(pool: Pool, tenant_id: str) -> StoredHead:
    key = tenant_key(TenantId(tenant_id))
    async with pool.acquire(tenant=key) as connection:
        head = await stored_head(connection, key)
    if head is None or head.tenant_id != tenant_id:
        raise TenantNotFound(tenant_id=tenant_id)
    return head


def _result(check: JournalCheck, difference: journal_pb2.Difference | None) -> journal_pb2.VerifyResult:
    return journal_pb2.VerifyResult(
        sequence=check.sequence,
        chain_hash=check.chain_hash,
        account_count=check.account_count,
        hold_count=check.hold_count,
        posting_count=check.posting_count,
        payment_count=check.payment_count,
        provider_event_count=check.event_count,
        finding_count=check.finding_count,
        adjustment_count=check.adjustment_count,
        first_difference=difference,
    )
