"""Owns the switch for outbound calls: stop, resume, and what has to be reconciled before calls resume."""

from datetime import datetime
from typing import Final

from defter.payments.v1 import outbound_pb2 as pb
from defter.reconciliation.v1 import reconciliation_pb2

from ledger_server.domain.errors import EpochNotCurrent, OutboundNotReconciled
from ledger_server.domain.state.commands import NamedCaller
from ledger_server.engine.reads.ledger import Reads
from ledger_server.engine.records.journal import caller_message
from ledger_server.engine.records.times import moment, timestamp
from ledger_server.store import history_store
from ledger_server.store.database import AnyConnection
from ledger_server.store.history_store import History, TenantProviderAccount

_PAGE: Final = 200
_MOST_TOLD: Final = 100


class Outbounds:
    """Whether calls to providers may be made, of all tenants."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def read(self) -> pb.Outbound:
        """Return the state of the switch."""
        return await self._reads.run(_read)

    async def stop(self, *, note: str, actor: str, caller: NamedCaller | None) -> pb.Outbound:
        """Stop all calls."""

        async def stop(connection: AnyConnection) -> pb.Outbound:
            history = await history_store.stop_outbound(connection, note=note, actor=actor, caller=caller)
            return await _outbound(connection, history)

        return await self._reads.run(stop)

    async def resume(
        self, epoch: str, *, note: str, actor: str, caller: NamedCaller | None, allow_unreconciled: bool
    ) -> pb.Outbound:
        """Let calls be made again.

        Raises:
            EpochNotCurrent: the history has another epoch.
            OutboundNotReconciled: an account was not reconciled since commits may have been lost.
        """

        async def resume(connection: AnyConnection) -> pb.Outbound:
            history = await history_store.read_history(connection)
            while True:
                _check_epoch(history, epoch)
                if not allow_unreconciled:
                    for account in await _unreconciled(connection, history, 1):
                        raise OutboundNotReconciled(tenant_id=account.tenant_id, provider=account.provider)
                resumed = await history_store.resume_outbound(
                    connection, version=history.version, note=note, actor=actor, caller=caller
                )
                if resumed is not None:
                    return await _outbound(connection, resumed)
                history = await history_store.read_history(connection)  # the history has changed meanwhile

        return await self._reads.run(resume)


def _check_epoch(history: History, epoch: str) -> None:
    if epoch != (history.epoch or ""):
        raise EpochNotCurrent(epoch=history.epoch or "")


async def _read(connection: AnyConnection) -> pb.Outbound:
    return await _outbound(connection, await history_store.read_history(connection))


async def _outbound(connection: AnyConnection, history: History) -> pb.Outbound:
    return pb.Outbound(
        stopped=history.outbound_stopped,
        note=history.note,
        actor=history.actor,
        change_time=None if history.change_time is None else timestamp(history.change_time),
        epoch=history.epoch or "",
        past_epochs=history.past_epochs,
        known_until_time=None if history.known_until is None else timestamp(history.known_until),
        begin_time=None if history.begin_time is None else timestamp(history.begin_time),
        caller=None if history.caller is None else caller_message(history.caller),
        unreconciled=[
            pb.OutboundAccount(tenant_id=account.tenant_id, provider=account.provider)
            for account in await _unreconciled(connection, history, _MOST_TOLD)
        ],
    )


async def _unreconciled(
    connection: AnyConnection, history: History, most: int
) -> list[TenantProviderAccount]:
    """Return the provider accounts without a run that covers what was lost, by tenant and name."""
    if history.known_until is None or history.begin_time is None:
        return []
    missing: list[TenantProviderAccount] = []
    after = ("", "")
    while len(missing) < most:
        accounts = await history_store.provider_accounts(connection, after, _PAGE)
        for account in accounts:
            complete = int(reconciliation_pb2.RUN_STATE_COMPLETE)
            bodies = await history_store.runs_since(connection, account, history.begin_time, complete)
            if not any(covers(body, history.known_until, history.begin_time) for body in bodies):
                missing.append(account)
        if len(accounts) < _PAGE:
            break
        after = (accounts[-1].tenant_id, accounts[-1].provider)
    return missing[:most]


def covers(body: bytes, since: datetime, until: datetime) -> bool:
    """Whether a run has judged everything that may have been lost between two times.

    A run does not judge what is in transit, and what was lost a moment ago counts as in transit while the
    grace period lasts. Losses of a payment that is known here do not matter: before a call is made, the
    provider is asked what it has.
    """
    run = reconciliation_pb2.Run.FromString(body)
    whole = moment(run.from_time) <= since and moment(run.to_time) >= until
    return whole and not run.unmatched_in_transit_count
