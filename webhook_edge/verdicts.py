"""Owns what can become of a webhook: the closed list, and the status that each is answered with."""

from collections.abc import Mapping
from enum import StrEnum
from http import HTTPStatus
from typing import Final


class Verdict(StrEnum):
    """What became of a webhook; also the label of its metric, and the body of a refusal."""

    TAKEN = "taken"
    """Verified and durable in the ledger, now or by an earlier delivery."""
    UNREAD = "unread"
    """Verified and durable like what is taken, but what it says could not be read, and moved no money."""
    NOT_OURS = "not_ours"
    """Verified, and all of it of another account than the endpoint's; nothing was forwarded."""
    OBSERVED = "observed"
    """Verified at an endpoint that only observes; nothing was forwarded."""
    UNKNOWN_ENDPOINT = "unknown_endpoint"
    """No such endpoint, not of this scheme, or none of its secrets counts."""
    MALFORMED = "malformed"
    CUT_OFF = "cut_off"
    """The sender was gone before the body was complete."""
    NOT_VERIFIED = "not_verified"
    TOO_SLOW = "too_slow"
    TOO_LARGE = "too_large"
    TOO_MANY = "too_many"
    LEDGER_UNAVAILABLE = "ledger_unavailable"
    """Not durable in time; the provider delivers again."""
    MISCONFIGURED = "misconfigured"
    """The ledger does not know the tenant or the provider account; mended there, the next delivery passes."""
    LEDGER_REFUSED = "ledger_refused"
    """Verified, and yet not in the form that the ledger demands: a fault of ours, to be looked at."""
    UNEXPECTED = "unexpected"
    """A fault of ours, logged under an id; nothing was forwarded."""


# What is taken is answered in the words of its scheme. 503 is the one 5xx, and stands for the ledger alone:
# any other would let a provider send its whole queue again for one delivery that can't pass.
STATUSES: Final[Mapping[Verdict, HTTPStatus]] = {
    Verdict.UNKNOWN_ENDPOINT: HTTPStatus.NOT_FOUND,
    Verdict.MALFORMED: HTTPStatus.BAD_REQUEST,
    Verdict.CUT_OFF: HTTPStatus.BAD_REQUEST,
    Verdict.NOT_VERIFIED: HTTPStatus.UNAUTHORIZED,
    Verdict.TOO_SLOW: HTTPStatus.REQUEST_TIMEOUT,
    Verdict.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Verdict.TOO_MANY: HTTPStatus.TOO_MANY_REQUESTS,
    Verdict.LEDGER_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Verdict.MISCONFIGURED: HTTPStatus.SERVICE_UNAVAILABLE,
    Verdict.LEDGER_REFUSED: HTTPStatus.BAD_REQUEST,
    Verdict.UNEXPECTED: HTTPStatus.BAD_REQUEST,
}


class Refused(Exception):
    """A webhook was not taken.

    Attributes:
        retry_seconds: after how long it may come again, where that is known.
    """

    def __init__(self, verdict: Verdict, *, retry_seconds: int | None = None) -> None:
        super().__init__(verdict.value)
        self.verdict = verdict
        self.retry_seconds = retry_seconds
