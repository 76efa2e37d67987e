"""Owns the limits of dispatch: pauses, leases and time-outs of owed calls."""

from msgspec import Struct


class DispatchLimits(Struct, frozen=True, kw_only=True):
    """How calls are made.

    Attributes:
        pause_seconds: between two looks for owed calls; a commit of this process is acted on at once.
        lease_seconds: for how long a claimed call is this process's; more than twice `call_seconds`.
        call_seconds: after this time an unanswered call is given up as unknown.
        proof_seconds: how long a proof that a call may leave is valid; the lease and the provider's memory
            must hold for twice that beyond a call's own time.
        request_life_seconds: how long a provider may still carry out a request that we have given up; absence
            proves something only after that.
        second_look_seconds: the least time between the two looks that prove absence.
        first_back_off_seconds, max_back_off_seconds: between tries whose outcome is unknown.
        poll_seconds, max_poll_seconds: between looks at an object that a provider has not finished.
        calls_at_once: concurrent calls of this process at one provider account.
        silences: the circuit breaker opens after this many calls in a row without an answer.
        first_break_seconds, max_break_seconds: how long the breaker is open before one call is tried.
        report_seconds: between two reports of calls that wait too long.
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
