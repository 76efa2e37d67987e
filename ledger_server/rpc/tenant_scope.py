"""Owns which tenant a request is about: the one place that reads it for permissions, for every RPC."""

from collections.abc import Callable
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor

from ledger_server.identity.patterns import EVERYTHING

TenantOf = Callable[[Any], str | None]
"""Returns the tenant of a request; None where it says none by itself."""

OF_ALL_TENANTS: Final = frozenset(
    {
        "defter.payments.v1.OutboundService/GetOutbound",
        "defter.payments.v1.OutboundService/ResumeOutbound",
        "defter.payments.v1.OutboundService/StopOutbound",
    }
)
"""Methods that concern all tenants at once: they need a rule for all tenants."""

OF_NO_TENANT: Final = frozenset(
    {
        "defter.ledger.v1.TenantService/ListCurrencies",
        "defter.ledger.v1.TenantService/ListTenants",
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    }
)
"""Methods that need a rule with the method, for whatever tenants; `ListTenants` shows those of such rules."""

OF_THE_CALLER: Final = frozenset({"defter.identity.v1.AccessService/GetAccess"})
"""Methods that tell a caller of itself: they need a proven identity and no permission.

Their calls are the caller's own: anybody may ask about any tenant, so they are not counted as that tenant's.
"""

_FIELD: Final = "tenant_id"
# A tenant id has at most 63 characters; of one that is too long, as much as shows that it is.
_LONGEST: Final = 80


class TenantUnclear(TypeError):
    """Nobody has said what permission a method needs; the server must not start."""

    def __init__(self, method: str) -> None:
        super().__init__(f"{method} has no `{_FIELD}`, and stands in no list of `tenant_scope.py`")


def name_of(method: MethodDescriptor) -> str:
    """Return a method's name as policies have it: `package.Service/Method`."""
    return f"{method.containing_service.full_name}/{method.name}"


def tenant_reader(method: MethodDescriptor) -> TenantOf:
    """Return a function that reads the tenant of the method's requests.

    It is the field `tenant_id` of the request, or of its message `header`.

    Raises:
        TenantUnclear: the request has neither, and the method is in no list.
    """
    name = name_of(method)
    fields = method.input_type.fields_by_name
    if name in OF_THE_CALLER:
        return lambda _: None
    if name in OF_ALL_TENANTS:
        return lambda _: EVERYTHING
    if name in OF_NO_TENANT:
        return lambda _: None
    if _is_text(fields.get(_FIELD)):
        return lambda request: request.tenant_id[:_LONGEST]
    header = fields.get("header")
    within = None if header is None else header.message_type
    if within is not None and _is_text(within.fields_by_name.get(_FIELD)):
        return lambda request: request.header.tenant_id[:_LONGEST] if request.HasField("header") else None
    raise TenantUnclear(name)


def needed_tenant(method: str, tenant_id: str | None) -> str | None:
    """Return the tenant that a rule for a call has to have.

    Args:
        method: as policies name it.
        tenant_id: the tenant that the call is about; None: any.
    Returns: `*` for all tenants together; None: the rule's tenants don't matter.
    """
    if method in OF_ALL_TENANTS:
        return EVERYTHING
    return None if method in OF_NO_TENANT else tenant_id


def _is_text(field: FieldDescriptor | None) -> bool:
    return field is not None and field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated
