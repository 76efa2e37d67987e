"""Own the sending of settlement reports by tests, and the making of such files."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterable, Sequence
from decimal import Decimal

import asyncpg
from defter.reconciliation.v1 import finding_pb2, settlement_pb2
from defter.reconciliation.v1.settlement_pb2_grpc import SettlementServiceStub

from ledger_server.domain.ids import TenantId, tenant_key
from tests.support.fake_provider import PROVIDER
from tests.support.ledger import Ledger
from tests.support.wire import Replied, reply

STRIPE = settlement_pb2.REPORT_FORMAT_STRIPE_PAYOUT_RECONCILIATION
BALANCE = settlement_pb2.REPORT_FORMAT_STRIPE_BALANCE_CHANGE
ADYEN = settlement_pb2.REPORT_FORMAT_ADYEN_SETTLEMENT_DETAILS
IN_PROGRESS = settlement_pb2.SETTLEMENT_BATCH_STATE_IN_PROGRESS
BALANCED = settlement_pb2.SETTLEMENT_BATCH_STATE_BALANCED
UNBALANCED = settlement_pb2.SETTLEMENT_BATCH_STATE_UNBALANCED
CONFIRMED = settlement_pb2.SETTLEMENT_BATCH_STATE_CONFIRMED
MISMATCH = 11

_COLUMNS = (
    "balance_transaction_id,created_utc,currency,gross,fee,net,reporting_category,source_id,"
    "automatic_payout_id,payment_intent_id"
)
_numbers = itertools.count(1)


def charge(amount: int, fee: int = 0, *, name: str = "", batch: str = "po_1", at: int = 0) -> str:
    """Return the row of a payment, in cents."""
    name = name or f"c{next(_numbers)}"
    return _row(f"txn_{name}", amount, fee, "charge", f"ch_{name}", batch, f"pi_{name}", at)


def paid(amount: int, *, name: str = "", batch: str = "po_1") -> str:
    """Return the row of a pay-out to our bank, in cents."""
    return _row(f"txn_{name or batch}", -amount, 0, "payout", batch, batch, "", 0)


def stripe_file(rows: Iterable[str], *, columns: str = _COLUMNS) -> bytes:
    """Return a payout reconciliation of these rows."""
    return "\n".join([columns, *rows, ""]).encode()


def _row(
    transaction: str, gross: int, fee: int, category: str, source: str, batch: str, payment: str, at: int
) -> str:
    amounts = ",".join(str(Decimal(amount).scaleb(-2)) for amount in (gross, fee, gross - fee))
    time = f"2030-01-01 {at // 3600:02}:{at // 60 % 60:02}:{at % 60:02}"
    return f"{transaction},{time},eur,{amounts},{category},{source},{batch},{payment}"


class Settler:
    """The settlements of one tenant."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.stub = SettlementServiceStub(ledger.channel)

    async def send(
        self,
        data: bytes,
        report_format: settlement_pb2.ReportFormat.ValueType = STRIPE,
        *,
        provider: str = PROVIDER,
        file_name: str = "report.csv",
        account: str = "",
        chunk_bytes: int = 1024 * 1024,
    ) -> settlement_pb2.ImportSettlementReportResponse:
        """Import a file."""
        header = self.header(report_format, provider=provider, file_name=file_name, account=account)
        chunks = [data[start : start + chunk_bytes] for start in range(0, len(data), chunk_bytes)]
        return await self.send_parts(
            [header, *(settlement_pb2.ImportSettlementReportRequest(chunk=chunk) for chunk in chunks)]
        )

    def header(
        self,
        report_format: settlement_pb2.ReportFormat.ValueType = STRIPE,
        *,
        provider: str = PROVIDER,
        file_name: str = "report.csv",
        account: str = "",
    ) -> settlement_pb2.ImportSettlementReportRequest:
        """Return the first message of an import."""
        return settlement_pb2.ImportSettlementReportRequest(
            header=settlement_pb2.ImportSettlementReportRequest.Header(
                tenant_id=self.ledger.tenant_id,
                provider=provider,
                format=report_format,
                file_name=file_name,
                account=account,
            )
        )

    async def send_parts(
        self, parts: Sequence[settlement_pb2.ImportSettlementReportRequest]
    ) -> settlement_pb2.ImportSettlementReportResponse:
        """Send the messages of an import as they are."""

        async def stream() -> AsyncIterator[settlement_pb2.ImportSettlementReportRequest]:
            for part in parts:
                yield part

        response: settlement_pb2.ImportSettlementReportResponse = await self.stub.ImportSettlementReport(
            stream()
        )
        return response

    async def batches(self, **wanted: object) -> list[settlement_pb2.SettlementBatch]:
        """Return all batches, page by page."""
        found: list[settlement_pb2.SettlementBatch] = []
        token = ""
        while True:
            request = settlement_pb2.ListSettlementBatchesRequest(
                tenant_id=self.ledger.tenant_id,
                page_token=token,
                **wanted,  # type: ignore[arg-type]
            )
            response = await self.stub.ListSettlementBatches(request)
            found += response.batches
            token = response.next_page_token
            if not token:
                return found

    async def batch(self, batch_id: str = "po_1") -> settlement_pb2.SettlementBatch:
        """Return one batch."""
        [found] = [batch for batch in await self.batches() if batch.batch_id == batch_id]
        return found

    def confirm_request(
        self, batch_id: str = "po_1", *, bank: str = "main", actor: str = "eve", currency_code: str = "EUR"
    ) -> settlement_pb2.ConfirmSettlementBatchRequest:
        """Return the request to confirm a batch."""
        return settlement_pb2.ConfirmSettlementBatchRequest(
            tenant_id=self.ledger.tenant_id,
            provider=PROVIDER,
            batch_id=batch_id,
            currency_code=currency_code,
            bank=bank,
            actor=actor,
        )

    async def confirm(
        self, batch_id: str = "po_1", *, bank: str = "main", actor: str = "eve", currency_code: str = "EUR"
    ) -> Replied[settlement_pb2.ConfirmSettlementBatchResponse]:
        """Confirm a batch."""
        request = self.confirm_request(batch_id, bank=bank, actor=actor, currency_code=currency_code)
        return await reply(self.stub.ConfirmSettlementBatch(request))


class Rows:
    """The rows of a tenant's tables, read beside the server."""

    def __init__(self, database_url: str, tenant_id: str = "casino") -> None:
        self._url = database_url
        self._key = tenant_key(TenantId(tenant_id))

    async def fetch(self, statement: str) -> list[asyncpg.Record]:
        """Return the rows of a statement that names the tenant as $1."""
        connection = await asyncpg.connect(self._url)
        try:
            rows: list[asyncpg.Record] = await connection.fetch(statement, self._key)
        finally:
            await connection.close()
        return rows

    async def count(self, table: str) -> int:
        """Return how many rows a table has."""
        [row] = await self.fetch(f"SELECT count(*) FROM {table} WHERE tenant_key = $1")
        return int(row[0])

    async def mismatches(self) -> dict[str, str]:
        """Return the states of the findings about batches, by batch."""
        rows = await self.fetch(
            f"SELECT body FROM reconciliation_findings WHERE tenant_key = $1 AND class = {MISMATCH}"
        )
        found = [finding_pb2.Finding.FromString(row["body"]) for row in rows]
        return {
            finding.at_provider.ref: finding_pb2.FindingState.Name(finding.state).removeprefix(
                "FINDING_STATE_"
            )
            for finding in found
        }
