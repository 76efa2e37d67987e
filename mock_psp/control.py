"""Owns the control API, by which tests, demos and people make things happen at the provider."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType, structs
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mock_psp.answers import Handler, answered, authorized, decoded, failure, json_response
from mock_psp.errors import InvalidRequest, NotFound
from mock_psp.listing import Movement
from mock_psp.objects import CurrencyCode, Payment, Payout, Refund, view
from mock_psp.state import State
from mock_psp.webhooks import Webhooks

Action: TypeAlias = Callable[..., object]


class Details(Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of a control call; a verb takes only what has a meaning for it."""

    amount_minor: Annotated[int, Meta(ge=0, le=2**63 - 1)] | UnsetType = UNSET
    final: bool | UnsetType = UNSET
    stage: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    reference: str | UnsetType = UNSET
    capture_id: str | UnsetType = UNSET
    currency: CurrencyCode | UnsetType = UNSET


class Entry(Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of POST /control/account/{verb}; amounts of corrections and surprises have a sign."""

    currency: CurrencyCode
    amount_minor: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | UnsetType = UNSET
    kind: Annotated[str, Meta(pattern="^[a-z_]{1,64}$")] | UnsetType = UNSET


class Resend(Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of POST /control/webhooks/resend: one event, or all."""

    event_id: str | None = None


class Rotation(Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of POST /control/webhooks/rotate."""

    secret: str
    keep_old: bool = True


# What each verb takes besides the id; the state's methods have the same names and the same arguments.
_REASON: Final = frozenset({"reason"})
_AMOUNT: Final = frozenset({"amount_minor"})
_NOTHING: Final[frozenset[str]] = frozenset()
_STAGED: Final = frozenset({"amount_minor", "stage"})
_MONEY: Final = frozenset({"currency", "amount_minor"})


class Control:
    """The endpoints under /control."""

    def __init__(self, state: State, webhooks: Webhooks, *, token: str) -> None:
        self._state = state
        self._webhooks = webhooks
        self._token = token
        payments, payouts, refunds, disputes = state.payments, state.payouts, state.refunds, state.disputes
        self._actions: Mapping[tuple[str, str], tuple[Action, frozenset[str]]] = {
            ("payments", "authorize"): (payments.authorize, _NOTHING),
            ("payments", "capture"): (payments.capture, frozenset({"amount_minor", "final"})),
            ("payments", "fail"): (payments.fail, _REASON),
            ("payments", "attempt_fail"): (payments.attempt_fail, _REASON),
            ("payments", "capture_fail"): (payments.capture_fail, frozenset({"capture_id", "reason"})),
            ("payments", "recapture"): (payments.recapture, frozenset({"capture_id", "final"})),
            ("payments", "fee"): (payments.fee, _AMOUNT),
            ("payments", "refund"): (refunds.create, frozenset({"amount_minor", "reference"})),
            ("payments", "dispute"): (disputes.open, frozenset({"amount_minor", "reason"})),
            ("payments", "dispute_withdraw"): (disputes.withdraw, _STAGED),
            ("payments", "dispute_reinstate"): (disputes.reinstate, _STAGED),
            ("payments", "dispute_win"): (disputes.win, _NOTHING),
            ("payments", "dispute_lose"): (disputes.lose, _NOTHING),
            ("refunds", "succeed"): (refunds.succeed, _NOTHING),
            ("refunds", "fail"): (refunds.fail, _REASON),
            ("payouts", "submit"): (payouts.submit, _NOTHING),
            ("payouts", "pay"): (payouts.pay, _NOTHING),
            ("payouts", "fail"): (payouts.fail, _REASON),
            ("payouts", "return"): (payouts.return_, _REASON),
            ("payouts", "fee"): (payouts.fee, _AMOUNT),
            ("payouts", "duplicate"): (payouts.duplicate, _NOTHING),
            ("movements", "vanish"): (state.books.listing.vanish, _NOTHING),
            ("movements", "misstate"): (state.books.listing.misstate, _MONEY),
        }
        account = state.account
        self._entries: Mapping[str, tuple[Action, frozenset[str], frozenset[str]]] = {
            # What each verb needs, and what it takes besides.
            "settle": (account.settle, frozenset({"currency"}), _NOTHING),
            "fee": (account.fee, _MONEY, _NOTHING),
            "correct": (account.correct, _MONEY, _NOTHING),
            "surprise": (account.surprise, _MONEY, frozenset({"kind"})),
        }

    def routes(self) -> list[Route]:
        """Return the routes of the control API."""
        table: list[tuple[str, str, Handler]] = [
            ("GET", "/control/state", self._show),
            ("POST", "/control/knobs", self._turn),
            ("POST", "/control/webhooks/flush", self._flush),
            ("POST", "/control/webhooks/resend", self._resend),
            ("POST", "/control/webhooks/rotate", self._rotate),
            ("POST", "/control/account/{verb}", self._enter),
            ("POST", "/control/{objects}/{id}/{verb}", self._act),
        ]
        return [Route(path, self._guarded(handler), methods=[method]) for method, path, handler in table]

    def _guarded(self, handler: Handler) -> Handler:
        async def endpoint(request: Request) -> Response:
            if not authorized(request, self._token):
                return failure(401, "unauthorized", "the bearer token is missing or wrong")
            return await answered(handler, request)

        return endpoint

    async def _show(self, _request: Request) -> Response:
        return json_response(
            200,
            {
                **self._state.view(),
                "attempts": self._webhooks.attempt_counts(),
                "lost_event_ids": [event.id for event in self._webhooks.lost],
                "secret_count": len(self._webhooks.secrets),
            },
        )

    async def _turn(self, request: Request) -> Response:
        self._state.knobs.patch(decoded(await request.body(), dict[str, object]))
        return json_response(200, self._state.knobs)

    async def _act(self, request: Request) -> Response:
        verb = request.path_params["verb"]
        found = self._actions.get((request.path_params["objects"], verb))
        if found is None:
            raise NotFound("not_found", f"no verb {verb} for that")
        action, takes = found
        details = _given(decoded(await request.body() or b"{}", Details))
        if not_taken := details.keys() - takes:
            raise InvalidRequest("invalid_request", f"{verb} does not take {', '.join(sorted(not_taken))}")
        return _shown(action(request.path_params["id"], **details))

    async def _enter(self, request: Request) -> Response:
        verb = request.path_params["verb"]
        found = self._entries.get(verb)
        if found is None:
            raise NotFound("not_found", f"no verb {verb} for the account")
        action, needs, takes = found
        entry = _given(decoded(await request.body(), Entry))
        if not needs <= entry.keys() <= needs | takes:
            raise InvalidRequest("invalid_request", f"{verb} takes {', '.join(sorted(needs | takes))}")
        return _shown(action(**entry))

    async def _flush(self, _request: Request) -> Response:
        self._webhooks.flush()
        return json_response(200, {})

    async def _resend(self, request: Request) -> Response:
        asked = decoded(await request.body() or b"{}", Resend)
        return json_response(200, {"event_count": self._webhooks.resend(asked.event_id)})

    async def _rotate(self, request: Request) -> Response:
        rotation = decoded(await request.body(), Rotation)
        self._webhooks.rotate(rotation.secret, keep_old=rotation.keep_old)
        return json_response(200, {"secret_count": len(self._webhooks.secrets)})


def _given(body: Struct) -> dict[str, Any]:
    """Return what was not left out."""
    return {name: value for name, value in structs.asdict(body).items() if value is not UNSET}


def _shown(done: object) -> Response:
    """Answer with what was done, as the API shows it."""
    if isinstance(done, Payment | Payout | Refund):
        return json_response(200, view(done))
    return json_response(200, done.view() if isinstance(done, Movement) else done)
