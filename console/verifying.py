"""Owns checks of journals that people have begun: each runs in this process, whether or not its page is open.

The ledger recomputes the whole journal of a tenant (`VerifyJournal`) and tells how far it has come. A check
is its person's: it is made with a token of theirs, and ends when they may not sign in any more.
"""

import asyncio
import contextlib
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal

import structlog

from console.ledger import Gateway
from console.signed_statements import Statement
from defter_client import LedgerError
from defter_client import messages as m
from signed_notes.notes import SignerKey

log = structlog.get_logger()

MOST_RUNNING: Final = 2
"""Checks at the same time, of all people: each keeps a reader of the ledger's database busy."""
MOST_KEPT: Final = 50
"""Checks whose results are kept; the oldest that has ended is forgotten first."""
MOST_SECONDS: Final = 4 * 3_600
"""How long one may take: the token that it is made with ends then."""


@dataclass(eq=False, slots=True, kw_only=True)
class Check:
    """A check of one tenant's journal.

    Attributes:
        sequence: the last record that was checked.
        head: the newest record when it began; 0 until that is known.
        problem: why it has come to no result.
        statement: what was found, signed; empty without a key.
    """

    check_id: str
    tenant_id: str
    person: str
    begin: datetime
    state: Literal["running", "agrees", "differs", "ended"] = "running"
    sequence: int = 0
    head: int = 0
    end: datetime | None = None
    result: m.VerifyResult | None = None
    problem: LedgerError | None = None
    statement: str = ""
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class Checks:
    """All checks of this process; a restart forgets them."""

    def __init__(self, gateway: Gateway, key: SignerKey | None) -> None:
        """Begin with none.

        Args:
            key: signs statements; None: there are none.
        """
        self._gateway = gateway
        self._key = key
        self._known: OrderedDict[str, Check] = OrderedDict()

    @property
    def signs(self) -> bool:
        """Whether what is found is signed."""
        return self._key is not None

    @property
    def key_text(self) -> str:
        """The public key with which statements are verified; empty without one."""
        return "" if self._key is None else str(self._key.verifier)

    @property
    def running_count(self) -> int:
        """How many run now."""
        return sum(check.state == "running" for check in self._known.values())

    def find(self, check_id: str, tenant_id: str, person: str) -> Check | None:
        """Return a check of this person; those of others are as if there were none."""
        check = self._known.get(check_id)
        if check is None or (check.tenant_id, check.person) != (tenant_id, person):
            return None
        return check

    def of(self, tenant_id: str, person: str) -> list[Check]:
        """Return the checks of a person, the newest first."""
        return [
            check
            for check in reversed(self._known.values())
            if (check.tenant_id, check.person) == (tenant_id, person)
        ]

    def begin(
        self, tenant_id: str, person: str, groups: tuple[str, ...], goes_on: Callable[[], bool]
    ) -> Check | None:
        """Begin a check, or return the one that this person has running; None if too many run.

        Args:
            goes_on: whether the person may still sign in; asked with each sign of progress.
        """
        for check in self.of(tenant_id, person):
            if check.state == "running":
                return check
        if self.running_count >= MOST_RUNNING:
            return None
        self._forget_oldest()
        check = Check(
            check_id=secrets.token_urlsafe(12), tenant_id=tenant_id, person=person, begin=datetime.now(UTC)
        )
        self._known[check.check_id] = check
        check.task = asyncio.create_task(self._run(check, groups, goes_on))
        return check

    def stop(self, check: Check) -> None:
        """End a check that runs."""
        if check.task is not None:
            check.task.cancel()

    async def close(self) -> None:
        """End all checks."""
        tasks = [check.task for check in self._known.values() if check.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget_oldest(self) -> None:
        ended = [check_id for check_id, check in self._known.items() if check.state != "running"]
        for check_id in ended[: max(0, len(self._known) - MOST_KEPT + 1)]:
            del self._known[check_id]

    async def _run(self, check: Check, groups: tuple[str, ...], goes_on: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(MOST_SECONDS):
                await self._follow(check, groups, goes_on)
        except LedgerError as error:
            check.problem = error
        except TimeoutError:
            log.warning("a check took too long", tenant_id=check.tenant_id, sequence=check.sequence)
        except Exception:
            log.exception("a check failed", tenant_id=check.tenant_id)
        finally:
            if check.state == "running":
                check.state = "ended"
            check.end = check.end or datetime.now(UTC)

    async def _follow(self, check: Check, groups: tuple[str, ...], goes_on: Callable[[], bool]) -> None:
        metadata: tuple[tuple[str, str], ...] = ()
        if self._gateway.signer is not None:
            token = self._gateway.signer.token(check.person, groups, life_seconds=MOST_SECONDS)
            metadata = (("authorization", f"Bearer {token}"),)
        request = m.VerifyJournalRequest(tenant_id=check.tenant_id)
        stream = self._gateway.client.journal.verify_journal(
            request, metadata=metadata, timeout=float(MOST_SECONDS)
        )
        try:
            async for message in stream:
                if not goes_on():
                    return
                if message.WhichOneof("event") == "progress":
                    check.sequence = message.progress.sequence
                    check.head = message.progress.head_sequence
                else:
                    self._take(check, message.result)
        finally:
            with contextlib.suppress(Exception):
                stream.cancel()

    def _take(self, check: Check, result: m.VerifyResult) -> None:
        check.result = result
        check.sequence = check.head = result.sequence
        check.end = datetime.now(UTC)
        if self._key is not None:
            check.statement = Statement(
                name=self._key.verifier.key.name,
                tenant_id=check.tenant_id,
                result=result,
                person=check.person,
                begin=check.begin,
                end=check.end,
            ).signed(self._key)
        check.state = "differs" if result.HasField("first_difference") else "agrees"
