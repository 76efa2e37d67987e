"""Owns who may ask what became of an idempotency key: whoever may make its call, or may see everything."""

from functools import cache
from typing import Any, Final

from ledger_server.domain.state.commands import Method
from ledger_server.rpc.methods import every_method

SHOWS_EVERYTHING: Final = "defter.ledger.v1.JournalService/ListJournal"
"""Who may call this one for a tenant sees whatever was decided there."""
_GET_OUTCOME: Final = "defter.ledger.v1.JournalService/GetOutcome"


def asked_method(method: str, request: Any) -> str:
    """Return the full name of the method whose outcome a request asks for.

    It is empty where the request asks for none: another method than `GetOutcome`, or one that gives no key
    its scope, which is refused as malformed.

    Args:
        method: the full name of the method that is called.
    """
    return _full_names().get(request.method, "") if method == _GET_OUTCOME else ""


@cache
def _full_names() -> dict[str, str]:
    by_short_name = {name.rpartition("/")[2]: name for name in every_method()}
    return {method.name: by_short_name[method.name] for method in Method}
