"""Owns what a restore or a failover may have lost, and what to do next: pure, from what a server has told."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from defter.payments.v1 import outbound_pb2
from defter.reconciliation.v1 import finding_pb2

from ledger_server.operator.connection import Exit
from ledger_server.operator.head_chain import ChainBreak, ChainWalk
from ledger_server.operator.head_form import FiledHead, PublishedHead
from ledger_server.operator.outbound import read_from
from ledger_server.operator.screen import by_whom, when

CLASSES: Final = (
    "MISSING_IN_LEDGER",
    "AMOUNT_MISMATCH",
    "STATUS_MISMATCH",
    "DUPLICATE_AT_PROVIDER",
    "ORPHAN_REFUND",
    "OBJECT_NOT_OURS",
    "UNKNOWN_HISTORY",
)
"""The classes of findings that tell of lost money; while one is open, calls are not resumed without force.

A test holds them against the server's table (`TELL_OF_LOSS`)."""

SEVERITIES: Final = frozenset({finding_pb2.SEVERITY_HIGH, finding_pb2.SEVERITY_CRITICAL})
"""How urgent such a finding is."""


class TenantLoss(NamedTuple):
    """What published heads say of a tenant's journal.

    Attributes:
        last: the last published head; None where none was published.
        held: the last one that the journal extends.
        kept: the newest record of the journal of before the present epoch.
        sequence: today's newest record.
        broken: the first record at which the journal does not extend a head.
        is_current: whether the last head is of the present epoch, so that it was published after the loss.
        is_unnoticed: whether the head that is broken is of the present epoch: files were put back, and no
            server has noticed.
    """

    tenant_id: str
    last: PublishedHead | None = None
    held: PublishedHead | None = None
    kept: int = 0
    sequence: int = 0
    broken: ChainBreak | None = None
    is_current: bool = False
    is_unnoticed: bool = False

    @property
    def text(self) -> str:
        """One sentence."""
        if self.last is None:
            return "no head was published, so nobody can tell what it has lost"
        published = f"published up to record {self.last.sequence} at {self.last.told_time}"
        if self.broken is not None:
            held = f"up to record {self.held.sequence}" if self.held else "none of it"
            return f"LOST: {published}, there is {held}; record {self.broken.sequence}: {self.broken.text}"
        if self.is_current:
            return f"{published}, in this epoch, and all of it is there; record {self.sequence} is the newest"
        return (
            f"{published}, and all of it is there; what was written after record {self.kept}, in the history"
            " before, may be lost"
        )


def loss_of(
    tenant_id: str, walk: ChainWalk, broken: ChainBreak | None, *, heads: Sequence[FiledHead], epoch: str
) -> TenantLoss:
    """Return what came of a walk through a tenant's journal.

    Args:
        heads: those that the journal was compared with, the last one last; one or more.
        epoch: the present one of the whole ledger; a tenant's journal has it from its next record on.
    """
    last = heads[-1].head
    lost = None if broken is None else broken.line
    begun = [seen.sequence for seen in walk.epochs if seen.epoch == epoch]
    return TenantLoss(
        tenant_id,
        last=last,
        held=walk.held[-1].head if walk.held else None,
        kept=begun[0] - 1 if begun else walk.sequence,
        sequence=walk.sequence,
        broken=broken,
        is_current=last.epoch == epoch,
        is_unnoticed=any(each.line == lost and each.head.epoch == epoch for each in heads),
    )


class Situation(NamedTuple):
    """What is known after a restore or a failover.

    Attributes:
        losses: of all tenants; empty where no heads were given.
        open_counts: how many findings of a class are unresolved, and how many events are parked, by tenant
            and the name of the class, or PARKED; those without any are left out.
    """

    outbound: outbound_pb2.Outbound
    losses: Sequence[TenantLoss]
    open_counts: Mapping[tuple[str, str], int]

    @property
    def is_answered_for(self) -> bool:
        """Whether no commit may be lost, or somebody has looked at what may be, and let calls go on."""
        return not (self.outbound.stopped and self.outbound.HasField("known_until_time"))

    @property
    def code(self) -> Exit:
        """The exit code: a published record that is lost or altered counts more than what may be lost."""
        if any(each.broken for each in self.losses):
            return Exit.FOUND
        return Exit.DONE if self.is_answered_for else Exit.PARTIAL


def sentences(found: Situation) -> list[str]:
    """Return what may be lost, in sentences."""
    outbound = found.outbound
    past = f", after {', '.join(outbound.past_epochs)}" if outbound.past_epochs else ""
    lines = [f"epoch {outbound.epoch or 'none yet'}{past}"]
    by = by_whom(outbound.actor, outbound.caller)
    note = f" since {when(outbound.change_time)} by {by}: {outbound.note}" if outbound.note else ""
    lines.append(f"calls to providers are {'stopped' if outbound.stopped else 'allowed'}{note}")
    if not outbound.HasField("known_until_time"):
        answered = "what may have been lost in past epochs was answered for when calls were resumed"
        lines.append(answered if past else "no server has noticed a restore, a promotion or a copy")
    elif found.is_answered_for:
        lines.append("what may have been lost was answered for when calls were resumed")
    else:
        since = outbound.known_until_time.ToJsonString()
        lines.append(f"the newest record that is left is of {since}: commits after it may be lost")
    if not found.losses:
        lines.append("no published heads were given (--file, --key): which records are lost can't be told")
    return [*lines, *(f"{each.tenant_id}: {each.text}" for each in found.losses)]


def steps(found: Situation) -> list[tuple[str, list[str]]]:
    """Return what is to be done next, in this order, with the commands; none once all was answered for."""
    if any(each.is_unnoticed for each in found.losses):
        return _unnoticed(found.outbound)
    if found.is_answered_for:
        return []
    outbound = found.outbound
    since, until = read_from(outbound), outbound.begin_time.ToJsonString()
    runs = [
        f"defter reconcile --tenant {each.tenant_id} --provider {each.provider} --from {since} --to {until}"
        " --grace 0s"
        for each in outbound.unreconciled
    ]
    looks = [
        f"defter events list --tenant {tenant_id} --state PARKED"
        if name == "PARKED"
        else f"defter findings list --tenant {tenant_id} --class {name}"
        for tenant_id, name in sorted(found.open_counts)
    ]
    resume = f"defter outbound resume --epoch {outbound.epoch} --note WHY"
    return [
        ("be sure that the database before is off, or that nobody reaches it: nothing here stops it", []),
        *([("read from the providers what the ledger lacks", runs)] if runs else []),
        *([("work through what tells of lost money, before calls go on", looks)] if looks else []),
        ("run `defter restored` again until nothing is left to read or to work through", []),
        ("let calls go on", [resume]),
        ("begin a new file of heads, and take a base backup", []),
    ]


def _unnoticed(outbound: outbound_pb2.Outbound) -> list[tuple[str, list[str]]]:
    """Return the steps where records of the present epoch are gone, and no server has noticed."""
    stop = (
        "stop calls to providers: what they were asked for may be lost",
        ["defter outbound stop --note WHY"],
    )
    return [
        *([] if outbound.stopped else [stop]),
        ("where a record was altered, or nobody has put files back: keep a copy of the database first", []),
        (
            "have the database taken for another history, as its owner; servers notice it within seconds",
            ['psql -c "UPDATE history SET row_transaction = NULL"'],
        ),
        ("run `defter restored` again, and go on as it says", []),
    ]
