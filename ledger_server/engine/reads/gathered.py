"""Owns coalesced reads of single accounts: calls that come while a statement runs share the next one."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from ledger_server.domain.errors import AccountNotFound
from ledger_server.store.queries.accounts import AccountNow

_MOST: Final = 1_000


class AccountReads(Protocol):
    """Reads many accounts at once."""

    async def find_accounts(self, tenant_id: str, account_ids: Sequence[str]) -> Mapping[str, AccountNow]:
        """Return those of the accounts that exist, all from one moment. Raises TenantNotFound."""


class GatheredReads:
    """Single accounts of all tenants, as they are now.

    A call that comes while a statement of the tenant runs is served by the next statement. That statement
    begins after the call, so it sees everything that was committed before the call. No call waits for other
    calls to come.
    """

    def __init__(self, reads: AccountReads) -> None:
        self._loop = asyncio.get_running_loop()
        self._reads = reads
        self._waiting: dict[str, list[tuple[str, asyncio.Future[AccountNow | None]]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def account(self, tenant_id: str, account_id: str) -> AccountNow:
        """Return an account with its counters now. Raises TenantNotFound, AccountNotFound."""
        future: asyncio.Future[AccountNow | None] = self._loop.create_future()
        waiting = self._waiting.get(tenant_id)
        if waiting is not None:
            waiting.append((account_id, future))
        else:
            self._waiting[tenant_id] = [(account_id, future)]
            task = self._loop.create_task(self._read(tenant_id))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        found = await future
        if found is None:
            raise AccountNotFound(account_id=account_id)
        return found

    async def _read(self, tenant_id: str) -> None:
        """Serve the waiting calls, statement by statement, until none waits."""
        waiting = self._waiting[tenant_id]
        while waiting:
            asked, waiting[:_MOST] = waiting[:_MOST], []
            wanted = list(dict.fromkeys(account_id for account_id, _ in asked))
            try:
                found = await self._reads.find_accounts(tenant_id, wanted)
            except Exception as error:  # noqa: BLE001  # whatever it is, somebody waits for an answer
                for _, future in asked:
                    if not future.done():
                        future.set_exception(error)
            else:
                for account_id, future in asked:
                    if not future.done():  # its caller may have gone away
                        future.set_result(found.get(account_id))
        del self._waiting[tenant_id]
