"""Owns the list of what the fake does not serve, and its answer to that: UNIMPLEMENTED, with the reason."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import grpc
from google.protobuf.descriptor import MethodDescriptor

from ledger_server.rpc.serving import Context
from ledger_server.rpc.tenant_scope import name_of

_OPERATORS: Final = "is for operators, who have a real server"
_RECORDS: Final = "compares the ledger with records of others, which a test has none of"
_TRUTH: Final = "proves what is stored, and the fake stores nothing"
_PERSONS: Final = "needs keys, and the fake takes no personal data"

UNSERVED: Final[Mapping[str, str]] = {
    "defter.backfill.v1.BackfillService": _RECORDS,
    "defter.ledger.v1.JournalService/VerifyJournal": _TRUTH,
    "defter.ledger.v1.TenantService/GetBalanceEnforcement": _OPERATORS,
    "defter.ledger.v1.TenantService/SetBalanceEnforcement": _OPERATORS,
    "defter.payments.v1.OutboundService": _OPERATORS,
    "defter.payments.v1.PlayerService": _PERSONS,
    "defter.reconciliation.v1.FindingService": _OPERATORS,
    "defter.reconciliation.v1.ReconciliationService": _RECORDS,
    "defter.reconciliation.v1.SettlementService": _RECORDS,
}
"""Why a method (`package.Service/Method`), or each method of a service (`package.Service`), is not served."""


def why_not(method: MethodDescriptor) -> str | None:
    """Return why a method is not served; None: it is."""
    return UNSERVED.get(method.containing_service.full_name) or UNSERVED.get(name_of(method))


def refusing(method: MethodDescriptor) -> Callable[[Any, Context], Any]:
    """Return a servicer's method that says why it is not served."""
    message = f"the fake ledger does not serve {name_of(method)}: it {why_not(method)}"

    async def refuse(_: Any, context: Context) -> None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, message)

    async def refuse_stream(_: Any, context: Context) -> AsyncIterator[Any]:
        nothing: tuple[Any, ...] = ()
        for each in nothing:
            yield each
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, message)

    return refuse_stream if method.server_streaming else refuse
