"""Owns the switch for outbound calls: stop, resume, and what has to be reconciled before calls resume."""

from datetime import datetime
from typing import Final

from defter.payments.v1 import outbound_pb2 as pb
from defter.reconciliation.v1 import reconciliation_pb2

from ledger_server.domain.errors import EpochNotCurrent, OutboundFindingsOpen, OutboundNotReconciled
from ledger_server.domain.history import reconciled_from
from ledger_server.domain.ids import finding_id
from ledger_server.domain.state.commands import NamedCaller
from ledger_server.engine.reads.ledger import Reads
from ledger_server.engine.records.journal import caller_message
from ledger_server.engine.records.times import moment, timestamp
from ledger_server.store import history_store
from ledger_server.store.database import AnyConnection
from ledger_server.store.history_store import FindingOfLoss, History, TenantProviderAccount

_PAGE: Final = 200
_MOST_TOLD: Final = 100
_FINDINGS_TOLD: Final = 10


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
            OutboundFindingsOpen: findings that tell of lost money are open.
        """

        async def resume(connection: AnyConnection) -> pb.Outbound:
            while True:
                history = await history_store.read_history(connection)
                _check_epoch(history, epoch)
                async with connection.transaction():
                    resumed = await history_store.resume_outbound(
                        connection, version=history.version, note=note, actor=actor, caller=caller
                    )
                    # Behind the write, which a refusal takes back: what is seen then is as new as the write.
                    if resumed is not None and not allow_unreconciled:
                        await _check_answered(connection, history)
                if resumed is not None:
                    return await _outbound(connection, resumed)
                # The history has changed meanwhile.

        return await self._reads.run(resume)


def _check_epoch(history: History, epoch: str) -> None:
    if epoch != (history.epoch or ""):
        raise EpochNotCurrent(epoch=history.epoch or "")


async def _check_answered(connection: AnyConnection, history: History) -> None:
    """Require that what may have been lost was looked for, and that what was found was seen to."""
    for account in await _unreconciled(connection, history, 1):
        raise OutboundNotReconciled(tenant_id=account.tenant_id, provider=account.provider)
    count, found = await _open_findings(connection, history)
    if count:
        tenant_id = found[0].tenant_id
        named = " ".join(finding_id(each.fingerprint) for each in found if each.tenant_id == tenant_id)
        raise OutboundFindingsOpen(count=count, tenant_id=tenant_id, finding_ids=named)


async def _read(connection: AnyConnection) -> pb.Outbound:
    return await _outbound(connection, await history_store.read_history(connection))


async def _outbound(connection: AnyConnection, history: History) -> pb.Outbound:
    known_until = history.known_until
    count, found = await _open_findings(connection, history)
    return pb.Outbound(
        stopped=history.outbound_stopped,
        note=history.note,
        actor=history.actor,
        change_time=None if history.change_time is None else timestamp(history.change_time),
        epoch=history.epoch or "",
        past_epochs=history.past_epochs,
        known_until_time=None if known_until is None else timestamp(known_until),
        reconcile_from_time=None if known_until is None else timestamp(reconciled_from(known_until)),
        begin_time=None if history.begin_time is None else timestamp(history.begin_time),
        caller=None if history.caller is None else caller_message(history.caller),
        unreconciled=[
            pb.OutboundAccount(tenant_id=account.tenant_id, provider=account.provider)
            for account in await _unreconciled(connection, history, _MOST_TOLD)
        ],
        open_finding_count=count,
        open_findings=[
            pb.OutboundFinding(tenant_id=each.tenant_id, finding_id=finding_id(each.fingerprint))
            for each in found
        ],
    )


async def _open_findings(connection: AnyConnection, history: History) -> tuple[int, list[FindingOfLoss]]:
    """Count the findings that tell of lost money and are unresolved, and return some of them."""
    if history.known_until is None or history.begin_time is None:
        return 0, []
    since = reconciled_from(history.known_until)
    noticed = history.begin_time
    return await history_store.findings_of_loss(connection, since, noticed, examples=_FINDINGS_TOLD)


async def _unreconciled(
    connection: AnyConnection, history: History, most: int
) -> list[TenantProviderAccount]:
    """Return the provider accounts without a run that covers what was lost, by tenant and name."""
    if history.known_until is None or history.begin_time is None:
        return []
    since = reconciled_from(history.known_until)
    missing: list[TenantProviderAccount] = []
    after = ("", "")
    while len(missing) < most:
        accounts = await history_store.provider_accounts(connection, after, _PAGE)
        for account in accounts:
            complete = int(reconciliation_pb2.RUN_STATE_COMPLETE)
            bodies = await history_store.runs_since(connection, account, history.begin_time, complete)
            if not any(covers(body, since, history.begin_time) for body in bodies):
                missing.append(account)
        if len(accounts) < _PAGE:
            break
        after = (accounts[-1].tenant_id, accounts[-1].provider)
    return missing[:most]


def covers(body: bytes, since: datetime, until: datetime) -> bool:
    """Whether a run has judged everything that may have been done between two times and lost here.

    A run does not judge what is in transit, and what was lost a moment ago counts as in transit while the
    grace period lasts. Losses of a payment that is known here do not matter: before a call is made, the
    provider is asked what it has.
    """
    run = reconciliation_pb2.Run.FromString(body)
    whole = moment(run.from_time) <= since and moment(run.to_time) >= until
    return whole and not run.unmatched_in_transit_count
