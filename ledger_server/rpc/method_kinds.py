"""Owns what methods do: which of them change something, and which read money of players."""

from typing import Final

from ledger_server.rpc.tenant_scope import OF_THE_CALLER

READ_VERBS: Final = ("Get", "BatchGet", "Count", "List", "Reveal", "Verify", "Watch", "ServerReflection")
"""What the names of methods that change nothing begin with; any other method counts as one that does."""

NOT_OF_PLAYERS: Final = frozenset(
    {
        "defter.ledger.v1.AdjustmentService/GetAdjustmentPolicy",
        "defter.ledger.v1.JournalService/GetTrialBalance",
        "defter.ledger.v1.JournalService/VerifyJournal",
        "defter.ledger.v1.TenantService/GetTenant",
        "defter.ledger.v1.TenantService/ListCurrencies",
        "defter.ledger.v1.TenantService/ListTenants",
        "defter.payments.v1.OutboundService/GetOutbound",
        "defter.payments.v1.WithdrawalService/GetWithdrawalPolicy",
        "defter.reconciliation.v1.ReconciliationService/GetRun",
        "defter.reconciliation.v1.ReconciliationService/ListRuns",
        "defter.reconciliation.v1.SettlementService/GetSettlementBatch",
        "defter.reconciliation.v1.SettlementService/ListSettlementBatches",
        "defter.reconciliation.v1.SettlementService/ListSettlementLines",
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    }
)
"""Methods that read something else than players' money; any other read counts as one of players' money."""


def changes(method: str) -> bool:
    """Whether a method, as policies name it, changes something."""
    return not method.rpartition("/")[2].startswith(READ_VERBS)


def reads_players(method: str) -> bool:
    """Whether a method reads the money of players."""
    return not changes(method) and method not in NOT_OF_PLAYERS | OF_THE_CALLER
