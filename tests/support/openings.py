"""Own imports of opening balances as a test makes them: lines in, and what the server answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from defter.backfill.v1 import backfill_pb2 as pb
from defter.backfill.v1.backfill_pb2_grpc import BackfillServiceStub
from defter.ledger.v1 import error_pb2

from tests.support.ledger import Ledger

Message = pb.ImportOpeningBalancesRequest
Header = Message.Header
Response = pb.ImportOpeningBalancesResponse
IMPORT = "legacy-1"


@dataclass
class Imported:
    """What one call answered."""

    refused: dict[int, str] = field(default_factory=dict)
    """Reasons by line."""
    plan: Response.Plan | None = None
    result: Response.Result | None = None
    progress: list[tuple[int, int]] = field(default_factory=list)

    def take(self, response: Response) -> None:
        """Note one message."""
        for line in response.refused.lines:
            reason = error_pb2.ErrorReason.Name(line.refusal.reason)
            self.refused[line.line_number] = reason.removeprefix("ERROR_REASON_")
        if response.HasField("progress"):
            self.progress.append((response.progress.checked_count, response.progress.done_count))
        if response.HasField("plan"):
            self.plan = response.plan
        if response.HasField("result"):
            self.result = response.result


def line(
    number: int, player_id: str = "", real: int = 0, bonus: int = 0, currency: str = "EUR"
) -> pb.OpeningBalance:
    """Return a line; each number has a player of its own unless one is named."""
    return pb.OpeningBalance(
        line_number=number,
        player_id=player_id or f"p{number}",
        currency_code=currency,
        real_minor=real,
        bonus_minor=bonus,
    )


def sums_of(lines: Sequence[pb.OpeningBalance]) -> list[pb.ControlSum]:
    """Return the control sums that lines add up to."""
    sums: dict[str, int] = {}
    for each in lines:
        sums[each.currency_code] = sums.get(each.currency_code, 0) + each.real_minor + each.bonus_minor
    return [pb.ControlSum(currency_code=code, amount_minor=total) for code, total in sums.items()]


def messages(lines: Sequence[pb.OpeningBalance], *, size: int = 100) -> list[Message]:
    """Return the messages of one pass."""
    parts = [Message(items=lines[start : start + size]) for start in range(0, len(lines), size)]
    parts[-1].pass_end = True
    return parts


class Opener:
    """The imports of one tenant."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.stub = BackfillServiceStub(ledger.channel)

    def header(
        self,
        lines: Sequence[pb.OpeningBalance],
        *,
        import_id: str = IMPORT,
        dry_run: bool = False,
        force: bool = False,
        sums: Sequence[pb.ControlSum] | None = None,
    ) -> Header:
        """Return the header for lines."""
        return Header(
            tenant_id=self.ledger.tenant_id,
            import_id=import_id,
            control_sums=sums_of(lines) if sums is None else sums,
            dry_run=dry_run,
            force=force,
        )

    async def send(
        self,
        first: Sequence[Message],
        second: Sequence[Message] = (),
        *,
        imported: Imported | None = None,
        closes: bool = False,
    ) -> Imported:
        """Send a header, once it is taken the first pass, and once the server wants it the second one.

        Nothing is sent while a refusal may be on its way, which gRPC's client would lose then.

        Args:
            closes: say in the end that nothing more comes.
        Raises:
            AioRpcError: after `imported` has taken what came before.
        """
        found = Imported() if imported is None else imported
        taken, planned, over = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def requests() -> AsyncIterator[Message]:
            for message in first:
                yield message
                await taken.wait()
            if second:
                await planned.wait()
                for message in second:
                    yield message
            if not closes:
                await over.wait()

        try:
            async for response in self.stub.ImportOpeningBalances(requests()):
                found.take(response)
                taken.set()
                if found.plan is not None and found.plan.wants_lines:
                    planned.set()
        finally:
            for event in (taken, planned, over):
                event.set()
        return found

    async def run(
        self,
        lines: Sequence[pb.OpeningBalance],
        *,
        import_id: str = IMPORT,
        dry_run: bool = False,
        force: bool = False,
        sums: Sequence[pb.ControlSum] | None = None,
        imported: Imported | None = None,
        size: int = 100,
    ) -> Imported:
        """Import lines."""
        header = self.header(lines, import_id=import_id, dry_run=dry_run, force=force, sums=sums)
        sent = messages(lines, size=size)
        return await self.send([Message(header=header), *sent], sent, imported=imported)
