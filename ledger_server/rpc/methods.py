"""Owns the list of all methods that need a permission, without a server; a test compares it with one."""

from typing import Any, Final

from defter.backfill.v1 import backfill_pb2
from defter.identity.v1 import access_pb2
from defter.ledger.v1 import account_pb2, adjustment_pb2, hold_pb2, journal_pb2, posting_pb2, tenant_pb2
from defter.payments.v1 import (
    deposit_pb2,
    outbound_pb2,
    player_pb2,
    provider_event_pb2,
    wallet_pb2,
    withdrawal_pb2,
)
from defter.reconciliation.v1 import finding_pb2, reconciliation_pb2, settlement_pb2
from google.protobuf.descriptor import MethodDescriptor
from grpc_reflection.v1alpha import reflection_pb2

from ledger_server.rpc.tenant_scope import OF_THE_CALLER, name_of

_FILES: Final[tuple[Any, ...]] = (
    account_pb2,
    adjustment_pb2,
    hold_pb2,
    journal_pb2,
    posting_pb2,
    tenant_pb2,
    deposit_pb2,
    outbound_pb2,
    player_pb2,
    provider_event_pb2,
    wallet_pb2,
    withdrawal_pb2,
    finding_pb2,
    reconciliation_pb2,
    settlement_pb2,
    backfill_pb2,
    access_pb2,
    reflection_pb2,
)


def every_method() -> dict[str, MethodDescriptor]:
    """Return all methods that need a permission by name, as policies have it, in the names' order."""
    methods = [
        method
        for file in _FILES
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
        if name_of(method) not in OF_THE_CALLER
    ]
    return {name_of(method): method for method in sorted(methods, key=name_of)}
