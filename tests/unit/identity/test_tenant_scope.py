"""The tenant of a request is read in one place, which knows every method and every field that has one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from defter.identity.v1 import access_pb2
from defter.ledger.v1 import error_pb2, tenant_pb2
from google.protobuf.descriptor import Descriptor, MethodDescriptor

from ledger_server.identity.patterns import EVERYTHING
from ledger_server.rpc.methods import every_method
from ledger_server.rpc.tenant_scope import (
    OF_ALL_TENANTS,
    OF_NO_TENANT,
    OF_THE_CALLER,
    TenantUnclear,
    name_of,
    needed_tenant,
    tenant_reader,
)
from tests.support.every_rpc import request_of

METHODS = every_method()


def tenant_fields(message: Descriptor, above: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the paths of all fields that speak of a tenant, however deep."""
    for field in message.fields:
        path = (*above, field.name)
        if "tenant" in field.name:
            yield ".".join(path)
        if field.message_type is not None and len(path) < 8:
            yield from tenant_fields(field.message_type, path)


@pytest.mark.parametrize("name", METHODS)
def test_request_names_its_tenant_in_one_field_that_is_read(name: str) -> None:
    """No other field of it could name another tenant than the one that is checked."""
    fields = list(tenant_fields(METHODS[name].input_type))
    read = tenant_reader(METHODS[name])(request_of(METHODS[name], "casino"))
    if name in OF_ALL_TENANTS:
        assert (fields, read) == ([], EVERYTHING)
    elif name in OF_NO_TENANT:
        assert (fields, read) == ([], None)
    else:
        assert fields in (["tenant_id"], ["header.tenant_id"])
        assert read == "casino"


def test_lists_of_exceptions_name_methods_that_exist() -> None:
    """And none twice."""
    assert set(METHODS) >= OF_ALL_TENANTS | OF_NO_TENANT
    assert not OF_ALL_TENANTS & OF_NO_TENANT
    assert not OF_THE_CALLER & set(METHODS)  # a rule that names one does nothing, and `policy check` says so


def test_question_about_a_tenant_is_not_counted_as_the_tenants() -> None:
    """Anybody may ask about any tenant, and must not use up what its own callers have."""
    access = access_pb2.DESCRIPTOR.services_by_name["AccessService"].methods
    assert {name_of(method) for method in access} == OF_THE_CALLER
    for method in access:
        assert tenant_reader(method)(request_of(method, "casino")) is None


@pytest.mark.parametrize("name", METHODS)
def test_tenant_that_is_needed_is_the_one_that_a_call_is_checked_for(name: str) -> None:
    """Whoever asks what it may do is answered by the same tenant."""
    assert needed_tenant(name, "casino") == (
        tenant_reader(METHODS[name])(request_of(METHODS[name], "casino"))
    )


def test_method_that_nobody_has_thought_of_keeps_a_server_from_starting() -> None:
    """A new RPC is not open by being forgotten."""
    forgotten: MethodDescriptor = METHODS["defter.ledger.v1.TenantService/ListTenants"]
    assert name_of(forgotten) in OF_NO_TENANT

    class Renamed:
        name = "ListEverything"
        containing_service = forgotten.containing_service
        input_type = forgotten.input_type

    with pytest.raises(TenantUnclear, match="ListEverything"):
        tenant_reader(Renamed)  # type: ignore[arg-type]


def test_tenant_that_is_too_long_is_cut_and_never_whole() -> None:
    """What is remembered of refusals has bounds; a tenant id has at most 63 characters."""
    read = tenant_reader(METHODS["defter.ledger.v1.TenantService/GetTenant"])
    told = read(tenant_pb2.GetTenantRequest(tenant_id="a" * 4_000_000))
    assert told is not None
    assert 63 < len(told) < 256


def test_reasons_of_identity_come_first_in_the_contract() -> None:
    """A caller that nobody knows learns nothing about its request."""
    names = [name for name, number in error_pb2.ErrorReason.items() if number]
    assert names[0] == "ERROR_REASON_IDENTITY_MISSING"
    assert names.index("ERROR_REASON_PERMISSION_MISSING") < names.index("ERROR_REASON_MESSAGE_TOO_LARGE")
