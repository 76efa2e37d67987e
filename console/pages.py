"""Owns what a page is told by: its address and what answers it. Each module of views has a table."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from starlette.responses import Response

from console.visit import Visit

Get = Callable[[Visit], Awaitable[Response]]
Post = Callable[[Visit, dict[str, str]], Awaitable[Response]]


class Page(NamedTuple):
    """An address of the console.

    Attributes:
        path: with names for its parts as Starlette has them; `{tenant}` is the tenant.
        get: answers a request that changes nothing.
        post: answers a form; its token has been checked.
        is_open: whether it is for those who have not signed in, too.
        takes_file: whether its form has a file: `visit.received`, which the view closes or keeps.
        is_signing_in: whether its form may be older than the session; where it comes from is checked anyhow.
    """

    path: str
    get: Get | None = None
    post: Post | None = None
    is_open: bool = False
    is_signing_in: bool = False
    takes_file: bool = False
