"""Own what all dialects of the simulated provider share."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus

from defter.payments.v1 import payment_pb2

from ledger_server.domain.ledger.currency import CurrencyRegistry
from ledger_server.providers.adapter import Adapter
from tests.simulation.border.http import Asked, Reply
from tests.simulation.border.provider import KeyInUse, KeyReused, Later, Provider, Thing, Treatment


class Dialect(ABC):
    """One vendor's API over the same objects."""

    address: str

    def __init__(self, provider: Provider, later: Later, stamp: Callable[[float], datetime]) -> None:
        self.provider = provider
        self._later = later
        self._stamp = stamp

    @staticmethod
    @abstractmethod
    def make_adapter(currencies: CurrencyRegistry, clock: Callable[[], datetime]) -> Adapter:
        """Return the ledger's own adapter, pointed at this provider."""

    @abstractmethod
    def answer(self, asked: Asked, reply: Reply) -> None:
        """Answer a request at its time."""

    @abstractmethod
    def webhook(
        self, number: int, thing: Thing, type_: str, amount: int, ref: str, at: datetime
    ) -> list[payment_pb2.ProviderEvent]:
        """Return what the edge reads from the webhook of an event."""

    @abstractmethod
    def error(self, status: int, code: str) -> bytes:
        """Return the body of an error."""

    def write(self, asked: Asked, reply: Reply, make: Callable[[], bytes]) -> None:
        """Carry out a request once for its key, as the next treatment says."""
        key = asked.headers["idempotency-key"]
        try:
            known = self.provider.begin(key, asked.path.encode() + asked.body)
        except KeyReused:
            reply(*self.key_reused())
            return
        except KeyInUse:
            reply(HTTPStatus.CONFLICT, self.error(HTTPStatus.CONFLICT, "idempotency_key_in_use"))
            return
        if known is not None:
            reply(HTTPStatus.OK, known)
            return
        treatment = self.provider.next_treatment()

        def execute() -> None:
            self.provider.finish(key, make())

        if treatment.execute_after is None:
            self.provider.finish(key, None)
        else:
            self._later(treatment.execute_after, execute)
        self._answer_later(treatment, key, asked, reply)

    def _answer_later(self, treatment: Treatment, key: str, asked: Asked, reply: Reply) -> None:
        if treatment.answer_after is None:
            return

        def answer() -> None:
            if treatment.status:
                reply(treatment.status, self.error(treatment.status, "trouble"))
                return
            known = self.provider.begin(key, asked.path.encode() + asked.body)
            assert known is not None
            reply(HTTPStatus.OK, known)

        self._later(treatment.answer_after, answer)

    @abstractmethod
    def key_reused(self) -> tuple[int, bytes]:
        """Return the answer to a key that came with another request."""


def in_json(value: object) -> bytes:
    """Return a body."""
    return json.dumps(value).encode()
