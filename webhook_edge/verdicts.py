"""Owns the verdicts on a webhook: the closed list, and the HTTP status of each."""

from collections.abc import Mapping
from enum import StrEnum
from http import HTTPStatus
from typing import Final


class Verdict(StrEnum):
    """What became of a webhook; also the label of its metric, and the body of a refusal."""

    TAKEN = "taken"
    """Verified and durable in the ledger, now or by an earlier delivery."""
    UNREAD = "unread"
    """Verified and durable like TAKEN, but it could not be read, and moved no money."""
    NOT_OURS = "not_ours"
    """Verified, and all of it of another account than the endpoint's; nothing was forwarded."""
    OBSERVED = "observed"
    """Verified at an endpoint that only observes; nothing was forwarded."""
    UNKNOWN_ENDPOINT = "unknown_endpoint"
    """No such endpoint, not of this scheme, or without a valid secret."""
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
    """The ledger does not know the tenant or provider account; once that is mended, deliveries pass."""
    LEDGER_REFUSED = "ledger_refused"
    """Verified, but not in the form that the ledger requires: a fault of ours, to be looked at."""
    UNEXPECTED = "unexpected"
    """A fault of ours, logged under an id; nothing was forwarded."""


# A taken webhook is answered in the form of its scheme. 503 is the only 5xx, for an unavailable ledger alone:
# with any other, a provider would send its whole queue again for one delivery that can't pass.
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
        retry_seconds: after how long the webhook may come again, if that is known.
    """

    def __init__(self, verdict: Verdict, *, retry_seconds: int | None = None) -> None:
        super().__init__(verdict.value)
        self.verdict = verdict
        self.retry_seconds = retry_seconds
