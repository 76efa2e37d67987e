"""Own lists: an iterator over the items of all pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from defter_client._async.calls import Caller, Metadata

Item = TypeVar("Item")
Page = TypeVar("Page", bound=Message)


class Pager(Generic[Item, Page]):
    """The items of a list, which are fetched page by page as they are asked for.

    Each page has the deadline and the tries of a call. `page_size` of the request is the size of a page, and
    bounds nothing; stop iterating when you have enough.
    """

    def __init__(
        self,
        caller: Caller,
        path: str,
        request: Any,
        response: type[Page],
        *,
        items: str,
        seconds: float | None,
        metadata: Metadata,
    ) -> None:
        """Fetch nothing yet.

        Args:
            request: has `page_token`; where that is given, the list begins there.
            items: name of the response's field with the items.
        """
        self._caller = caller
        self._path = path
        self._request = request
        self._response = response
        self._items = items
        self._seconds = seconds
        self._metadata = metadata

    async def __aiter__(self) -> AsyncIterator[Item]:
        """Yield the items.

        Raises:
            LedgerError: a page could not be read.
        """
        async for page in self.pages():
            for item in getattr(page, self._items):
                yield item

    async def pages(self) -> AsyncIterator[Page]:
        """Yield the responses, with `next_page_token` and what else they say; one may be without items.

        Raises:
            LedgerError: a page could not be read.
        """
        request = type(self._request)()
        request.CopyFrom(self._request)
        while True:
            page: Any = await self._caller.read(
                self._path, request, self._response, seconds=self._seconds, metadata=self._metadata
            )
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
