"""Owns SettlementService."""

import re
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Final, Protocol

from defter.ledger.v1 import account_pb2, posting_pb2
from defter.reconciliation.v1 import settlement_pb2 as pb

from ledger_server.domain.errors import (
    FieldMalformed,
    FieldMissing,
    FieldTooLong,
    ProviderUnknown,
    Reason,
    Refused,
    SettlementBatchNotBalanced,
)
from ledger_server.domain.ledger.accounts import Direction
from ledger_server.domain.ledger.transactions import NewPosting, TransactionType
from ledger_server.domain.payments.accounts import bank_account, clearing_account
from ledger_server.domain.reconciliation.settlement import ReportFormat, SettlementBatchState
from ledger_server.domain.state.commands import Method, NamedCaller, PostTransaction, RequestKey
from ledger_server.engine.lane.kept_currencies import KeptCurrencies
from ledger_server.engine.lane.work import Request
from ledger_server.engine.reconciliation.settlements import Settlements, moved_by
from ledger_server.engine.records.settlements import message_of
from ledger_server.engine.records.times import moment
from ledger_server.rpc.callers_ledger import CallersLedger
from ledger_server.rpc.errors import mark_replayed
from ledger_server.rpc.guard import CALLER
from ledger_server.rpc.outcomes import decide_one, refusal_of
from ledger_server.rpc.page_token import Position, fitting, page_place, page_size, page_token, time_in
from ledger_server.rpc.payment_requests import ProviderAmounts, provider_name, some_text
from ledger_server.rpc.read_requests import optional_enum, tenant_violations
from ledger_server.rpc.requests import RequestReader, request_of
from ledger_server.rpc.serving import Context
from ledger_server.rpc.violations import Violations, members
from ledger_server.store.settlement_store import SettlementBatchName, StoredSettlementBatch

MAX_CHUNK_BYTES: Final = 1024 * 1024
_MAX_TEXT: Final = 255
_MAX_REFERENCE: Final = 64
_BANK: Final = re.compile(r"[A-Za-z0-9_.@-]{1,64}")
_FORMATS: Final = members(ReportFormat)
_CONFIRMABLE: Final = frozenset({SettlementBatchState.BALANCED, SettlementBatchState.CONFIRMED})

Header = pb.ImportSettlementReportRequest.Header
_Part = pb.ImportSettlementReportRequest | pb.PreviewSettlementReportRequest


class ReportImporter(Protocol):
    """Imports reports, and keeps the findings of batches up to date."""

    async def import_report(
        self, header: Header, chunks: AsyncIterator[bytes], *, caller: NamedCaller | None
    ) -> pb.ImportSettlementReportResponse:
        """Import a file if it is new, and update findings and provider records."""

    async def preview_report(
        self, header: Header, chunks: AsyncIterator[bytes]
    ) -> pb.PreviewSettlementReportResponse:
        """Say what an import would make of a file, and keep nothing."""

    async def tell(self, tenant_id: str, provider: str, name: SettlementBatchName) -> None:
        """Update the finding of a batch that has changed."""


class SettlementServicer:
    """Imports settlement reports, and books a batch when a person confirms it."""

    def __init__(
        self,
        ledger: CallersLedger,
        reader: RequestReader,
        settlements: Settlements,
        importer: ReportImporter,
        providers: Mapping[str, ProviderAmounts],
        *,
        currencies: KeptCurrencies,
    ) -> None:
        self._currencies = currencies
        self._ledger = ledger
        self._reader = reader
        self._settlements = settlements
        self._importer = importer
        self._providers = providers

    async def ImportSettlementReport(
        self, requests: AsyncIterator[pb.ImportSettlementReportRequest], _: Context
    ) -> pb.ImportSettlementReportResponse:
        """Read a settlement report, all of it or nothing."""
        header = await self._header(requests)
        await self._settlements.check_tenant(header.tenant_id)
        await self._currencies.check()  # the lines are kept in minor units
        response = await self._importer.import_report(header, _chunks(requests), caller=CALLER.get())
        # A report of payouts alone may have thousands; the rest are listed.
        del response.batches[fitting(response.batches) :]
        return response

    async def PreviewSettlementReport(
        self, requests: AsyncIterator[pb.PreviewSettlementReportRequest], _: Context
    ) -> pb.PreviewSettlementReportResponse:
        """Say what an import would make of a settlement report, and keep nothing of it."""
        header = await self._header(requests)
        await self._settlements.check_tenant(header.tenant_id)
        await self._currencies.check()
        response = await self._importer.preview_report(header, _chunks(requests))
        del response.batches[fitting(response.batches) :]
        return response

    async def GetSettlementBatch(
        self, request: pb.GetSettlementBatchRequest, _: Context
    ) -> pb.GetSettlementBatchResponse:
        """Read a settlement batch."""
        self._named(request).check()
        name = (request.batch_id, request.currency_code)
        batch = await self._settlements.batch(request.tenant_id, request.provider, name)
        return pb.GetSettlementBatchResponse(batch=message_of(batch))

    async def ListSettlementLines(
        self, request: pb.ListSettlementLinesRequest, _: Context
    ) -> pb.ListSettlementLinesResponse:
        """List the lines of a settlement batch, by their ids."""
        violations = self._named(request)
        size = page_size(request, violations)
        after = page_place(request, violations, like=("",), read=lambda position: str(position[0]))
        violations.check()
        page = await self._settlements.list_lines(
            request.tenant_id,
            request.provider,
            (request.batch_id, request.currency_code),
            after=after or "",
            size=size,
        )
        response = pb.ListSettlementLinesResponse(lines=page.items)
        if page.next is not None:
            response.next_page_token = page_token(request, page.next)
        return response

    async def ListSettlementBatches(
        self, request: pb.ListSettlementBatchesRequest, _: Context
    ) -> pb.ListSettlementBatchesResponse:
        """List settlement batches, the newest first."""
        violations = tenant_violations(request)
        if request.provider:
            provider_name(violations, request.provider)
        state = optional_enum(violations, request.state, "state", SettlementBatchState)
        size = page_size(request, violations)
        after = page_place(request, violations, like=("", "", "", ""), read=_place)
        violations.check()
        page = await self._settlements.list_batches(
            request.tenant_id, provider=request.provider, state=int(state or 0), after=after, size=size
        )
        response = pb.ListSettlementBatchesResponse(batches=page.items)
        if page.next is not None:
            open_time, *rest = page.next
            response.next_page_token = page_token(request, (open_time.isoformat(), *rest))
        return response

    async def ConfirmSettlementBatch(
        self, request: pb.ConfirmSettlementBatchRequest, context: Context
    ) -> pb.ConfirmSettlementBatchResponse:
        """Move what a balanced batch has paid out from clearing to a bank account, once."""
        self._check_confirm(request)
        name = (request.batch_id, request.currency_code)
        batch = await self._settlements.batch(request.tenant_id, request.provider, name)
        if batch.moved is None:
            batch = await self._linked(request, batch)
        message = message_of(batch)
        if batch.state not in _CONFIRMABLE:
            raise SettlementBatchNotBalanced(
                batch_id=request.batch_id, difference_minor=message.difference_minor
            )
        if message.paid_out_minor:
            if batch.moved is None:
                await self._open_accounts(request, lowered=_legs(request, message.paid_out_minor)[1])
            posted = await decide_one(self._ledger, request.tenant_id, _posting(request, message), context)
            batch = await self._set_moved(request, posting_pb2.Transaction.FromString(posted))
        else:
            if batch.moved is not None:
                mark_replayed(context)
            batch = await self._settlements.set_confirmed(
                request.tenant_id, request.provider, name, CALLER.get()
            )
            await self._importer.tell(request.tenant_id, request.provider, name)
        return pb.ConfirmSettlementBatchResponse(batch=message_of(batch))

    async def _header(self, requests: AsyncIterator[_Part]) -> Header:
        first = await anext(requests, None)
        if isinstance(first, Refused):
            # A broken message arrives as the refusal that explains it.
            raise first
        if first is None or first.WhichOneof("part") != "header":
            raise FieldMissing(field="header")
        header = first.header
        violations = Violations()
        within = "header."
        violations.tenant_id(header.tenant_id, f"{within}tenant_id")
        provider_name(violations, header.provider, f"{within}provider")
        violations.enum(header.format, f"{within}format", _FORMATS)
        violations.text(header.file_name, f"{within}file_name", _MAX_TEXT)
        violations.text(header.account, f"{within}account", _MAX_TEXT)
        account = self._providers.get(header.provider)
        if account is None or (account.tenants is not None and header.tenant_id not in account.tenants):
            violations.add(ProviderUnknown(field=f"{within}provider", provider=header.provider[:_MAX_TEXT]))
        violations.check()
        return header

    def _named(
        self,
        request: pb.GetSettlementBatchRequest
        | pb.ListSettlementLinesRequest
        | pb.ConfirmSettlementBatchRequest,
    ) -> Violations:
        """Return what is wrong with the name of a batch."""
        violations = tenant_violations(request)
        provider_name(violations, request.provider)
        violations.identifier(request.batch_id, "batch_id")
        violations.currency(request.currency_code, "currency_code", self._reader.currencies)
        return violations

    def _check_confirm(self, request: pb.ConfirmSettlementBatchRequest) -> None:
        violations = self._named(request)
        if not request.bank:
            violations.add(FieldMissing(field="bank"))
        elif not _BANK.fullmatch(request.bank):
            violations.add(FieldMalformed(field="bank"))
        some_text(violations, request.actor, "actor", _MAX_TEXT)
        violations.text(request.bank_reference, "bank_reference", _MAX_REFERENCE)
        violations.check()

    async def _linked(
        self, request: pb.ConfirmSettlementBatchRequest, batch: StoredSettlementBatch
    ) -> StoredSettlementBatch:
        """Return the batch with its transaction, if a process posted it and died before noting that."""
        posted = await self._settlements.posted(request.tenant_id, _key(request))
        ours = {"batch": request.batch_id, "provider": request.provider}
        if posted is None or not ours.items() <= dict(posted.metadata).items():
            return batch
        return await self._set_moved(request, posted)

    async def _set_moved(
        self, request: pb.ConfirmSettlementBatchRequest, posted: posting_pb2.Transaction
    ) -> StoredSettlementBatch:
        name = (request.batch_id, request.currency_code)
        moved = moved_by(posted, request.provider, request.currency_code)
        batch = await self._settlements.set_moved(
            request.tenant_id, request.provider, name, moved, posted.transaction_id
        )
        await self._importer.tell(request.tenant_id, request.provider, name)
        return batch

    async def _open_accounts(self, request: pb.ConfirmSettlementBatchRequest, *, lowered: str) -> None:
        """Open those of the two accounts that are missing, by ordinary commands."""
        currency = request.currency_code
        wanted = []
        for account_id in (_bank(request), clearing_account(request.provider, currency)):
            if await self._settlements.missing_account(
                request.tenant_id, account_id, currency, lowered=account_id == lowered
            ):
                account = account_pb2.NewAccount(
                    account_id=account_id,
                    kind=account_pb2.ACCOUNT_KIND_ASSET,
                    currency_code=currency,
                )
                wanted.append(self._reader.open_item(f"settlement:{account_id}", account))
        if not wanted:
            return
        for outcome in await self._ledger.submit(request.tenant_id, wanted):
            # Another caller may have opened the account just now.
            if outcome.rejected and refusal_of(outcome).reason is not Reason.ACCOUNT_ALREADY_EXISTS:
                raise refusal_of(outcome)


async def _chunks(requests: AsyncIterator[_Part]) -> AsyncIterator[bytes]:
    async for request in requests:
        broken: object = request
        if isinstance(broken, Refused):
            raise broken
        match request.WhichOneof("part"):
            case "chunk":
                if len(request.chunk) > MAX_CHUNK_BYTES:
                    raise FieldTooLong(field="chunk", limit=MAX_CHUNK_BYTES)
                yield request.chunk
            case "header":
                raise FieldMalformed(field="header")
            case _:
                raise FieldMissing(field="chunk")


def _place(position: Position) -> tuple[datetime, str, str, str]:
    open_time, provider, batch_id, currency = position
    return time_in(open_time), str(provider), str(batch_id), str(currency)


def _key(request: pb.ConfirmSettlementBatchRequest) -> str:
    return f"settlement:{request.provider}:{request.batch_id}:{request.currency_code}"


def _bank(request: pb.ConfirmSettlementBatchRequest) -> str:
    return bank_account(request.bank, request.currency_code)


def _legs(request: pb.ConfirmSettlementBatchRequest, paid_out: int) -> tuple[str, str]:
    """Return the debited and the credited account; money that was taken back goes the other way."""
    bank, clearing = _bank(request), clearing_account(request.provider, request.currency_code)
    return (bank, clearing) if paid_out > 0 else (clearing, bank)


def _posting(request: pb.ConfirmSettlementBatchRequest, batch: pb.SettlementBatch) -> Request:
    """Return the request that moves a batch's money.

    The request digest covers what the caller asks for and not the state of the batch: another bank under the
    same key is another request, but a line that came later does not make another request.
    """
    debited, credited = _legs(request, batch.paid_out_minor)
    amount, currency = abs(batch.paid_out_minor), request.currency_code
    named = {"batch": request.batch_id, "provider": request.provider, "actor": request.actor}
    if request.bank_reference:
        named["bank_reference"] = request.bank_reference
    command = PostTransaction(
        TransactionType.TRANSFER,
        (
            NewPosting(debited, Direction.DEBIT, amount, currency),
            NewPosting(credited, Direction.CREDIT, amount, currency),
        ),
        request.batch_id,
        moment(batch.paid_out_time),
        named,
        follow=True,
    )
    return request_of(command, RequestKey(Method.PostTransaction, _key(request), player_id=""), request)
