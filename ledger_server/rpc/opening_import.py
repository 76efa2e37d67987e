"""Owns one call of ImportOpeningBalances: a pass that checks all lines, then one that posts them.

Nothing of the lines is kept between the passes but what is to be done for each (a byte), a digest of each
message, and a hash of each player, so memory does not grow with the texts. What is posted is right by itself,
line by line, whenever the call ends: the key of a line has its outcome in the journal.
"""

import asyncio
import hashlib
import secrets
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Final

from defter.backfill.v1 import backfill_pb2 as pb

from ledger_server.domain.decisions.openings import (
    NOTHING_POSTED,
    Opening,
    OpeningLine,
    OpeningStep,
    check_change,
    digest_of,
    newest_wallet,
    open_command,
    open_key,
    outcome_key,
    post_command,
    step_of,
    wallets_of,
)
from ledger_server.domain.errors import (
    BatchSizeOutOfRange,
    DeadlinePassed,
    FieldMalformed,
    FieldMissing,
    FieldTooLong,
    ImportChanged,
    ImportLinesRefused,
    LaneFull,
    OpeningBalanceChanged,
    Reason,
    Refused,
    ShuttingDown,
)
from ledger_server.domain.ids import TenantId, tenant_key
from ledger_server.domain.ledger.accounts import AccountKind
from ledger_server.domain.payments.accounts import opening_account
from ledger_server.engine.fair_gate import FairGate, flow_of
from ledger_server.engine.lane.work import Outcome, Request
from ledger_server.engine.reads.ledger import Reads
from ledger_server.engine.reads.openings import OpeningReads
from ledger_server.rpc.callers_ledger import CallersLedger
from ledger_server.rpc.guard import caller_now
from ledger_server.rpc.opening_lines import MAX_LINES, SeenLines, read_line
from ledger_server.rpc.opening_tally import Tally
from ledger_server.rpc.outcomes import refusal_of, rejection_message
from ledger_server.rpc.request_budget import RequestBudget
from ledger_server.rpc.requests import RequestReader
from ledger_server.rpc.shares import SIZE, weight_of
from ledger_server.rpc.violations import MAX_BATCH

Response = pb.ImportOpeningBalancesResponse
Message = pb.ImportOpeningBalancesRequest

# A sender that falls silent must not keep others from sending.
_SILENCE_SECONDS: Final = 60.0
_LANE_FULL_PAUSE: Final = 0.02
# Messages of the second pass that are in work at once: the lane decides one while another is written.
_IN_WORK: Final = 3
# So many lines are one work of the lane: what others have waits for one, and a commit takes two.
_WORK_LINES: Final = 250
_PROGRESS_LINES: Final = 5_000
_DIGEST_BYTES: Final = 16

# What the second pass does for a line, by what the first one has found.
_NOTHING: Final = 0
_POST: Final = 1
_OPEN_REAL: Final = 2
_OPEN_BONUS: Final = 4
# It has to be looked at again: what was posted before, or the number of its key, is not remembered.
_LOOK: Final = 8


class OpeningImport:
    """One import."""

    def __init__(
        self,
        ledger: CallersLedger,
        reader: RequestReader,
        reads: Reads,
        budget: RequestBudget,
        gate: FairGate,
        *,
        tenant_id: str,
        opening: Opening,
        sums: dict[str, int],
        dry_run: bool,
        deadline: float | None,
    ) -> None:
        """Take what all imports share, and the header of this one.

        Args:
            sums: the control sum of each currency, minor units.
            deadline: in the event loop's time.
        """
        self._ledger = ledger
        self._reader = reader
        self._reads = OpeningReads(reads)
        self._courtesy = reads.courtesy
        self._budget = budget
        self._gate = gate
        self._tenant_id = tenant_id
        self._key = tenant_key(TenantId(tenant_id))
        self._opening = opening
        self._dry_run = dry_run
        self._deadline = deadline
        self._flow = flow_of(tenant_id, caller_now())
        self._tally = Tally(sums)
        self._seen = SeenLines(secrets.token_bytes(32))
        self._actions = bytearray()
        self._digests = bytearray()
        self._refused_count = 0
        self._sequence = 0
        self._draining = False
        self._silence: asyncio.Timeout | None = None

    def drain(self) -> None:
        """End the call at the next message; what is decided by then is told by the next call."""
        self._draining = True
        if self._silence is not None and not self._silence.expired():
            self._silence.reschedule(asyncio.get_running_loop().time())

    async def run(self, requests: AsyncIterator[Message]) -> AsyncGenerator[Response, None]:
        """Yield what is found, the plan, and what was done."""
        messages = aiter(requests)
        yield Response(progress=Response.Progress())  # the caller may begin
        async for response in self._check_lines(messages):
            yield response
        for batch in self._repeated():
            await self._courtesy.slices(rest=0).give_way()
            if batch.lines:
                yield Response(refused=batch)
        self._tally.check_size()
        posts = not self._refused_count and self._tally.adds_up
        if posts:
            await self._check_equity()
        wants = posts and not self._dry_run
        self._seen = SeenLines(b"")  # the second pass has no use for it
        yield Response(plan=self._tally.plan(self._refused_count, wants_lines=wants))
        if self._refused_count:
            raise ImportLinesRefused(refused_count=self._refused_count)
        self._tally.check_sums()
        if not wants:
            return
        self._tally = Tally(self._tally.sums)
        async with aclosing(self._post_lines(messages)) as responses:
            async for response in responses:
                yield response
        yield Response(result=self._tally.result(self._refused_count, self._sequence))
        if self._refused_count:
            raise ImportLinesRefused(refused_count=self._refused_count)

    # The first pass

    async def _check_lines(self, messages: AsyncIterator[Message]) -> AsyncIterator[Response]:
        told = count = 0
        async for message, size in self._pass(messages):
            await self._budget.enter_patiently(size)
            try:
                self._digests += _digest(message)
                count += len(message.items)
                if count > MAX_LINES:
                    raise FieldTooLong(field="items", limit=MAX_LINES)
                refused = await self._check(message.items)
            finally:
                self._budget.leave(size)
            if refused:
                self._refused_count += len(refused)
                yield Response(refused=Response.Refused(lines=refused))
            if count - told >= _PROGRESS_LINES:
                told = count
                yield Response(progress=Response.Progress(checked_count=count))
        if not count:
            raise FieldMissing(field="items")
        yield Response(progress=Response.Progress(checked_count=count))

    async def _check(self, items: Sequence[pb.OpeningBalance]) -> list[pb.RefusedLine]:
        """Find out what is to be done for the lines of one message; return those that are refused."""
        currencies, bounds = self._reader.currencies, self._reader.bounds
        slices = self._courtesy.slices(rest=0)
        read = await slices.made(items, lambda item: read_line(item, currencies, bounds))
        refused = [
            _refused(item.line_number, each)
            for item, each in zip(items, read, strict=True)
            if isinstance(each, Refused)
        ]
        lines = [each for each in read if not isinstance(each, Refused)]
        steps = iter(await self._steps(lines))
        for each in read:
            action = _NOTHING
            if not isinstance(each, Refused):
                self._seen.add(each)
                step = next(steps)
                if isinstance(step, Refused):
                    refused.append(_refused(each.number, step))
                else:
                    self._tally.count(each, step)
                    action = _action(each, step)
            self._actions.append(action)
        refused.sort(key=lambda line: line.line_number)
        return refused

    async def _steps(self, lines: Sequence[OpeningLine]) -> list[OpeningStep | Refused]:
        if not lines:
            return []
        known = await self._reads.known(self._key, lines)
        self._sequence = max(self._sequence, known.sequence)

        def step(numbered: tuple[int, OpeningLine]) -> OpeningStep | Refused:
            place, line = numbered
            try:
                return step_of(line, known.posted.get(place, NOTHING_POSTED), known.wallets, self._opening)
            except Refused as refused:
                return refused

        return await self._courtesy.slices(rest=0).made(enumerate(lines), step)

    def _repeated(self) -> Iterator[Response.Refused]:
        for part in self._seen.repeated():
            self._refused_count += len(part)
            yield Response.Refused(lines=[_refused(each.number, each.refusal) for each in part])

    async def _check_equity(self) -> None:
        """Refuse the import if the account against which a currency is posted can't take its change.

        Raises:
            AccountKindMismatch, CurrencyMismatch, AccountClosed, AccountFrozen, AmountOverflow,
                InsufficientFunds, BalanceLimitExceeded: nothing was posted.
        """
        changes = self._tally.changes()
        found = await self._reads.wallets(self._key, [opening_account(code) for code in changes])
        for code, change in changes.items():
            account_id = opening_account(code)
            if account_id in found and change:
                wallet = newest_wallet(found, account_id)
                check_change(wallet, code, -change, self._opening.enforcement)

    # The second pass

    async def _post_lines(self, messages: AsyncIterator[Message]) -> AsyncGenerator[Response, None]:
        await self._open_equity()
        in_work: deque[asyncio.Task[list[pb.RefusedLine]]] = deque()
        counts: deque[int] = deque()
        place = number = done = told = 0
        try:
            async for message, size in self._pass(messages):
                digest = self._digests[number * _DIGEST_BYTES : (number + 1) * _DIGEST_BYTES]
                if _digest(message) != digest:
                    raise ImportChanged(line=message.items[0].line_number if message.items else 0)
                number += 1
                await self._enter(size)
                actions = self._actions[place : place + len(message.items)]
                place += len(message.items)
                task = asyncio.create_task(self._post(message.items, actions))
                # Not in the task itself, which may be cancelled before it has begun.
                task.add_done_callback(partial(self._leave, size))
                in_work.append(task)
                counts.append(len(message.items))
                while len(in_work) >= _IN_WORK:
                    refused = await in_work.popleft()
                    done += counts.popleft()
                    if refused:
                        yield self._told(refused)
                    if done - told >= _PROGRESS_LINES:
                        told = done
                        yield Response(progress=Response.Progress(checked_count=place, done_count=done))
            if number * _DIGEST_BYTES != len(self._digests):
                raise ImportChanged(line=0)
            while in_work:
                refused = await in_work.popleft()
                if refused:
                    yield self._told(refused)
            yield Response(progress=Response.Progress(checked_count=place, done_count=place))
        finally:
            # What has reached the lane is decided all the same; the next call finds it posted.
            for task in in_work:
                task.cancel()
            await asyncio.gather(*in_work, return_exceptions=True)

    def _told(self, refused: list[pb.RefusedLine]) -> Response:
        self._refused_count += len(refused)
        return Response(refused=Response.Refused(lines=refused))

    async def _enter(self, size: int) -> None:
        """Wait until there is room for a message, and for its work among that of others."""
        weight = weight_of(size)
        waits = self._gate.enter(self._flow, weight)
        entered = False
        try:
            if waits is not None:
                await waits
            await self._budget.enter_patiently(size)
            entered = True
        finally:
            if not entered:
                self._gate.leave(self._flow, weight, waits)

    def _leave(self, size: int, _: object) -> None:
        self._budget.leave(size)
        self._gate.leave(self._flow, weight_of(size))

    async def _post(self, items: Sequence[pb.OpeningBalance], actions: bytearray) -> list[pb.RefusedLine]:
        """Post the lines of one message; return those that are refused by now."""
        lines = [
            OpeningLine(
                item.line_number,
                item.player_id,
                item.currency_code,
                item.real_minor,
                item.bonus_minor,
            )
            for item in items
        ]
        again = [line for line, action in zip(lines, actions, strict=True) if action == _LOOK]
        looked = iter(await self._steps(again))
        refused: list[pb.RefusedLine] = []
        due: list[tuple[OpeningLine, OpeningStep]] = []
        for line, action in zip(lines, actions, strict=True):
            step = next(looked) if action == _LOOK else _step(line, action)
            if isinstance(step, Refused):
                refused.append(_refused(line.number, step))
            else:
                due.append((line, step))
        for start in range(0, len(due), _WORK_LINES):
            refused += await self._decide(due[start : start + _WORK_LINES])
        known = {each.line_number for each in refused}
        corrected = [
            line
            for line, step in due
            if step.corrects and (step.real or step.bonus) and line.number not in known
        ]
        return refused + await self._overtaken(corrected)

    async def _overtaken(self, lines: Sequence[OpeningLine]) -> list[pb.RefusedLine]:
        """Return the corrected lines that do not stand as they say.

        A reversal that came between the look and the correction takes no number of the line's key, so the
        correction was posted to what is not there any more. The next call posts the rest.
        """
        refused = []
        for line, step in zip(lines, await self._steps(lines), strict=True):
            if isinstance(step, Refused):
                refused.append(_refused(line.number, step))
            elif step.real or step.bonus:
                changed = OpeningBalanceChanged(
                    player_id=line.player_id,
                    real_minor=line.real - step.real,
                    bonus_minor=line.bonus - step.bonus,
                )
                refused.append(_refused(line.number, changed))
        return refused

    async def _decide(self, due: Sequence[tuple[OpeningLine, OpeningStep]]) -> list[pb.RefusedLine]:
        """Have the lane decide steps; return what it refuses."""
        requests: list[Request] = []
        for line, step in due:
            requests += [
                _opening(account_id, AccountKind.LIABILITY, line.currency) for account_id in step.opens
            ]
            if step.real or step.bonus:
                command = post_command(line, step, self._opening)
                key = outcome_key(line.player_id, line.currency, step.number)
                requests.append(Request(command, key, digest_of(line, step, self._opening)))
        decided = await self._submit(requests)
        self._sequence = max([self._sequence, *[each.sequence for each in decided]])
        outcomes = iter(decided)
        refused: list[pb.RefusedLine] = []
        for line, step in due:
            opened = [next(outcomes) for _ in step.opens]
            posted = next(outcomes) if step.real or step.bonus else None
            self._tally.done(line, step, opened, posted)
            wrong = [each for each in opened if not _is_open(each)]
            if posted is not None and posted.rejected:
                wrong.append(posted)
            if wrong:
                refused.append(_refused(line.number, refusal_of(wrong[-1])))
        return refused

    async def _open_equity(self) -> None:
        """Open the accounts against which balances are posted, where they are missing."""
        codes = sorted(self._tally.sums)
        found = await self._reads.wallets(self._key, [opening_account(code) for code in codes])
        wanted = [
            _opening(opening_account(code), AccountKind.EQUITY, code)
            for code in codes
            if opening_account(code) not in found
        ]
        for outcome in await self._submit(wanted):
            if not _is_open(outcome):
                raise refusal_of(outcome)

    async def _submit(self, requests: Sequence[Request]) -> list[Outcome]:
        """Have the lane decide requests, once it has room."""
        if not requests:
            return []
        while True:
            try:
                return await self._ledger.submit(self._tenant_id, requests, deadline=self._deadline)
            except LaneFull:
                # A stream gets no refusal: not reading on is the answer (back-pressure).
                await asyncio.sleep(_LANE_FULL_PAUSE)

    # Both

    async def _pass(self, messages: AsyncIterator[Message]) -> AsyncIterator[tuple[Message, int]]:
        """Yield the messages of one pass, each with its size in bytes."""
        while True:
            message = await self._next(messages)
            if message is None:
                raise FieldMissing(field="pass_end")
            size = SIZE.get()
            if message.HasField("header"):
                raise FieldMalformed(field="header")
            if len(message.items) > MAX_BATCH or not (message.items or message.pass_end):
                raise BatchSizeOutOfRange(field="items", count=len(message.items), limit=MAX_BATCH)
            yield message, size
            if message.pass_end:
                return

    def _silenced(self) -> Refused:
        """Return why the call is not waited for any longer."""
        return ShuttingDown() if self._draining else DeadlinePassed()

    async def _next(self, messages: AsyncIterator[Message]) -> Message | None:
        """Return the next message, or None behind the last one.

        Raises:
            DeadlinePassed: its sender says nothing.
            ShuttingDown: the server is draining.
        """
        if self._draining:
            raise ShuttingDown
        try:
            async with asyncio.timeout(_SILENCE_SECONDS) as self._silence:
                message = await anext(messages, None)
        except TimeoutError:
            raise self._silenced() from None
        finally:
            self._silence = None
        broken: object = message
        if isinstance(broken, Refused):
            # A broken message arrives as the refusal that explains it.
            raise broken
        return message


def _digest(message: Message) -> bytes:
    data = message.SerializeToString(deterministic=True)
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()


def _refused(number: int, refused: Refused) -> pb.RefusedLine:
    return pb.RefusedLine(line_number=number, refusal=rejection_message(refused))


def _action(line: OpeningLine, step: OpeningStep) -> int:
    """Return what the second pass needs to know of a step."""
    if (step.real or step.bonus) and (step.number or step.corrects):
        return _LOOK
    real, bonus = wallets_of(line)
    opens = (_OPEN_REAL if real in step.opens else 0) | (_OPEN_BONUS if bonus in step.opens else 0)
    return opens | (_POST if step.real or step.bonus else 0)


def _step(line: OpeningLine, action: int) -> OpeningStep:
    """Return the step that an action stands for; it is the first one that is posted for the line."""
    real, bonus = wallets_of(line)
    opens = ((real,) if action & _OPEN_REAL else ()) + ((bonus,) if action & _OPEN_BONUS else ())
    if action & _POST:
        return OpeningStep(opens, 0, line.real, line.bonus, corrects=False)
    return OpeningStep(opens, 0, 0, 0, corrects=False)


def _opening(account_id: str, kind: AccountKind, currency: str) -> Request:
    digest = hashlib.sha256(f"{account_id}\n{kind.name}\n{currency}".encode()).digest()[:16]
    return Request(open_command(account_id, kind, currency), open_key(account_id), digest)


def _is_open(outcome: Outcome) -> bool:
    """Whether an account is there now; somebody else may have opened it."""
    return not outcome.rejected or refusal_of(outcome).reason is Reason.ACCOUNT_ALREADY_EXISTS
