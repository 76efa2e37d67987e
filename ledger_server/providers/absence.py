"""Owns the second proof that a provider has no object of a call: its records, read to their end.

The first proof asks for our id. The second one reads everything since the first try without any filter, so an
index that lags or a filter that fails can't hide an object from both proofs.
"""

from datetime import timedelta
from typing import Final

from ledger_server.domain.provider_record import ProviderRecordKind
from ledger_server.providers.adapter import (
    Adapter,
    ListingFailed,
    NotFound,
    ProviderCall,
    ProviderCallKind,
    Unknown,
)

_KINDS: Final = {
    ProviderCallKind.CREATE_PAYMENT: ProviderRecordKind.PAYMENT,
    ProviderCallKind.CREATE_PAYOUT: ProviderRecordKind.PAYOUT,
    ProviderCallKind.REFUND: ProviderRecordKind.REFUND,
}
_CLOCK_MARGIN: Final = timedelta(hours=1)
_PAGE: Final = 1_000
_MOST_PAGES: Final = 1_000


async def listed_as_absent(adapter: Adapter, call: ProviderCall) -> NotFound | Unknown:
    """Read an account's records since a call's first try; Unknown if they have its object, or prove nothing.

    A kind that the provider does not list completely is left to the look by our id, which found nothing.
    """
    if call.first_try_time is None or call.look_time is None:
        return Unknown(reason="nobody knows since when to look")
    if _KINDS[call.kind] not in adapter.capabilities.listed:
        return NotFound()
    cursor = ""
    passed = {cursor}
    for _ in range(_MOST_PAGES):
        try:
            page = await adapter.list_provider_records(
                call.first_try_time - _CLOCK_MARGIN, call.look_time + _CLOCK_MARGIN, cursor, _PAGE
            )
        except ListingFailed as failed:
            return Unknown(reason=str(failed), retry_after_seconds=failed.retry_after_seconds)
        if any(record.our_id == call.our_id for record in page.records):
            return Unknown(reason="it is listed, and was not found by our id")
        if not page.next_cursor:
            return NotFound()
        cursor = page.next_cursor
        if cursor in passed:
            return Unknown(reason="the listing goes in a circle")
        passed.add(cursor)
    return Unknown(reason="the listing did not come to an end")
