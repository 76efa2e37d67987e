"""Owns the matching of listed things with lines of the ledger: one to one, by ids; duplicates are left over.

A line that is left over is paired by amount and time only if no id says that line and thing differ. This is
safe since both belong to one payment, which was found by an id.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from msgspec import Struct, field

from ledger_server.domain.payments.deposit import Deposit
from ledger_server.domain.provider_record import ProviderRecordKind
from ledger_server.domain.reconciliation.ledger_side import Booked, Payment
from ledger_server.domain.reconciliation.provider_side import Listed, together
from ledger_server.domain.reconciliation.scope import Scope


class Pair(NamedTuple):
    """A line and its listed counterpart; `named` unless the line's parts may be listed elsewhere."""

    line: Booked
    thing: Listed
    named: bool = True


class Again(NamedTuple):
    """A thing that was done again for a line that stands already."""

    line: Booked
    thing: Listed


class Claims(Struct, kw_only=True):
    """The result of matching: every line and every thing stands in exactly one place."""

    pairs: list[Pair] = field(default_factory=list)
    again: list[Again] = field(default_factory=list)
    lines: list[Booked] = field(default_factory=list)
    things: list[Listed] = field(default_factory=list)


def claim(lines: Sequence[Booked], things: Sequence[Listed], scope: Scope) -> Claims:
    """Match payouts, refunds or disputes with listed things: by the provider's id, then by ours."""
    free = list(things)
    claimed: dict[int, Listed] = {}
    claims = Claims()

    def seek(fits: Callable[[Booked, Listed], bool]) -> None:
        for number, line in enumerate(lines):
            if number not in claimed:
                _take(claimed, number, free, [thing for thing in free if fits(line, thing)], line)

    seek(lambda line, thing: thing.ref in line.remote_refs)
    seek(_echoed)
    for number, line in enumerate(lines):
        others = [thing for thing in free if _echoed(line, thing)]
        if others:
            # A try under another id that failed gives way to one that did not.
            best = next((thing for thing in (claimed[number], *others) if thing.stands), claimed[number])
            claims.again += [Again(line, thing) for thing in (claimed[number], *others) if thing is not best]
            claimed[number] = best
            free = [thing for thing in free if thing not in others]
    for number, line in enumerate(lines):
        if number in claimed and _elsewhere(line, claimed[number], scope):
            claims.again.append(Again(line, claimed.pop(number)))
    seek(lambda line, thing: _unnamed(line, thing, scope) and line.level == thing.level)
    seek(lambda line, thing: _unnamed(line, thing, scope))
    claims.pairs = [Pair(lines[number], thing) for number, thing in sorted(claimed.items())]
    # A further object that the ledger has booked is known, but it is still one too many.
    claims.again += [Again(pair.line, pair.thing) for pair in claims.pairs if pair.line.again]
    claims.lines = [line for number, line in enumerate(lines) if number not in claimed]
    claims.things = free
    return claims


def claim_captures(
    payment: Payment, lines: Sequence[Booked], things: Sequence[Listed], scope: Scope
) -> Claims:
    """Match captures with listed things: each capture by its own id, and the rest as one.

    One side may know a payment as a whole while the other side knows its parts.
    """
    claims = Claims()
    stray = _stray_payments(payment, lines, things, scope)
    rest = [thing for thing in things if thing.payment_ref not in stray]
    left = []
    for line in lines:
        claimed = next((thing for thing in rest if thing.ref in line.remote_refs), None)
        if claimed is not None:
            rest.remove(claimed)
            claims.pairs.append(Pair(line, claimed, named=not _is_whole(line)))
            continue
        if not any(_captured_in(line, found) for found in stray.values()):
            left.append(line)
    for found in stray.values():
        own = next((line for line in lines if _captured_in(line, found)), lines[0])
        claims.again.append(Again(own, together(found)))
    listed_whole = any(thing.ref == thing.payment_ref for thing in rest)
    whole = [line for line in left if not rest or listed_whole or _is_whole(line) or _in_reach(line, scope)]
    if whole and rest:
        claims.pairs.append(Pair(_as_one(whole), together(rest), named=False))
        claims.lines = [line for line in left if line not in whole]
    else:
        claims.lines, claims.things = left, rest
    return claims


def _take(
    claimed: dict[int, Listed], number: int, free: list[Listed], fitting: list[Listed], line: Booked
) -> None:
    if fitting:
        moment = line.time or line.since
        best = min(fitting, key=lambda thing: (not thing.stands, abs(thing.time - moment), thing.ref))
        claimed[number] = best
        free.remove(best)


def _echoed(line: Booked, thing: Listed) -> bool:
    return bool(line.our_id) and thing.our_id == line.our_id


def _unnamed(line: Booked, thing: Listed, scope: Scope) -> bool:
    """Whether no id tells line and thing apart, so that they may be the same.

    A withdrawal has one payout, so any payout that was found to belong to it is that one.
    """
    two = bool(line.our_id) and bool(thing.our_id)
    booked = bool(line.moved) and _in_reach(line, scope)
    return not two and not line.remote_refs and (booked or line.kind is ProviderRecordKind.PAYOUT)


def _elsewhere(line: Booked, thing: Listed, scope: Scope) -> bool:
    """Whether the line stands for something else, which happened at another time and under another id."""
    known = bool(line.remote_refs) and thing.ref not in line.remote_refs
    return known and thing.stands and line.level.standing > 0 and not _in_reach(line, scope)


def _in_reach(line: Booked, scope: Scope) -> bool:
    """Whether the records that were read would contain what is booked, or nothing is booked yet."""
    return not line.moved or (line.time is not None and scope.reads(line.time))


def _is_whole(line: Booked) -> bool:
    return line.ref == line.our_id or line.ref.startswith(f"{line.our_id}/payments/")


def _stray_payments(
    payment: Payment, lines: Sequence[Booked], things: Sequence[Listed], scope: Scope
) -> dict[str, list[Listed]]:
    """Return the further payments by which the player has paid for the same deposit.

    Several payments that the ledger knows are one deposit paid by several means, as long as they together
    take no more than was asked for.
    """
    charged: dict[str, list[Listed]] = {}
    for thing in things:
        if thing.stands:
            charged.setdefault(thing.payment_ref, []).append(thing)
    # The payment that our call has made is always the first one; without such a payment it is the oldest that
    # the ledger has booked, or that is listed.
    booked = [ref for ref, found in charged.items() if any(_captured_in(line, found) for line in lines)]
    oldest = next(iter(booked or charged), "")
    first = payment.provider_ref if payment.provider_ref in charged else oldest
    named = payment.payment_ref if isinstance(payment, Deposit) else ""
    stands = [line for line in lines if line.level.standing > 0]
    if stands and named and first not in payment.refs and not any(_in_reach(line, scope) for line in stands):
        # The deposit was paid before, by a payment that is not listed this time.
        first = named
    stray = {ref: found for ref, found in charged.items() if ref != first}
    if isinstance(payment, Deposit) and payment.taken > payment.amount:
        return stray
    return {ref: found for ref, found in stray.items() if not _is_heard_of(lines, ref, found)}


def _is_heard_of(lines: Sequence[Booked], payment_ref: str, things: Sequence[Listed]) -> bool:
    return any(line.payment_ref == payment_ref or _captured_in(line, things) for line in lines)


def _captured_in(line: Booked, things: Sequence[Listed]) -> bool:
    return any(thing.ref in line.remote_refs for thing in things)


def _as_one(lines: Sequence[Booked]) -> Booked:
    """Return captures as one line."""
    if len(lines) == 1:
        return lines[0]
    started = min(line.since for line in lines)
    moved = sorted(
        (moved for line in lines for moved in line.moved),
        key=lambda moved: (moved.time or started, moved.amount < 0),
    )
    return Booked(
        kind=ProviderRecordKind.PAYMENT,
        ref=lines[0].our_id,
        remote_refs=tuple(ref for line in lines for ref in line.remote_refs),
        our_id=lines[0].our_id,
        state=lines[0].state,
        moved=tuple(moved),
        pending=any(line.pending for line in lines),
        since=started,
    )
