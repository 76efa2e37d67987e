"""Owns the numbers by which owed calls are made."""

from msgspec import Struct


class DispatchLimits(Struct, frozen=True, kw_only=True):
    """How calls are made.

    Attributes:
        pause_seconds: between two looks for what is owed; a commit of this process is acted on at once.
        lease_seconds: for how long a claimed call is this process's; more than twice `call_seconds`.
        call_seconds: after so long an unanswered call is given up as unknown.
        proof_seconds: how long a proof that a call may leave is worth something; what the lease and the
            provider's memory must hold beyond a call's own time is twice that.
        request_life_seconds: for how long a request that we have given up may still be carried out at the
            provider; an absence is a proof only after that.
        second_look_seconds: between the two looks that prove an absence, at least.
        first_back_off_seconds, max_back_off_seconds: between tries whose outcome is unknown.
        poll_seconds, max_poll_seconds: between looks at what a provider has taken on and not finished.
        calls_at_once: of this process at one provider account.
        silences: how many calls in a row get no answer before an account is left alone.
        first_break_seconds, max_break_seconds: for how long it is left alone before one call is tried.
        report_seconds: between two looks at what waits too long.
    """

    pause_seconds: float = 5.0
    lease_seconds: float = 90.0
    call_seconds: float = 30.0
    proof_seconds: float = 5.0
    request_life_seconds: float = 3_600.0
    second_look_seconds: float = 600.0
    first_back_off_seconds: float = 1.0
    max_back_off_seconds: float = 300.0
    poll_seconds: float = 60.0
    max_poll_seconds: float = 21_600.0
    calls_at_once: int = 16
    silences: int = 5
    first_break_seconds: float = 1.0
    max_break_seconds: float = 60.0
    report_seconds: float = 30.0
