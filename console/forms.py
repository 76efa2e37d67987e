"""Owns the reading of forms, within bounds, and the keys that they carry."""

import hmac
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from console.sessions import Session
from defter_client import new_key

MOST_BYTES: Final = 64 * 1024
_MOST_FIELDS: Final = 120
_KEY: Final = re.compile(r"con-[0-9A-Z]{26}")
_FORM: Final = "application/x-www-form-urlencoded"


class FormRefused(Exception):
    """The form can't be used.

    Attributes:
        status: of the answer.
    """

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def form_key() -> str:
    """Return the key of a form: made when it is rendered, so sending it twice is one request."""
    return f"con-{new_key()}"


async def read_form(request: Request) -> Mapping[str, str]:
    """Return the fields of a form; of several with one name the last.

    Raises:
        FormRefused: it is too large, or no form.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise FormRefused(415)
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise FormRefused(413)
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict"
        )
    except ValueError:
        raise FormRefused(400) from None
    # Browsers send line ends of their own.
    return {name: value.replace("\r\n", "\n") for name, value in pairs}


def check_token(form: Mapping[str, str], session: Session) -> None:
    """Check that a form is of a page of this session.

    Raises:
        FormRefused: it is not.
    """
    if not hmac.compare_digest(form.get("csrf", "").encode(), session.csrf.encode()):
        raise FormRefused(403)


def key_of(form: Mapping[str, str]) -> str:
    """Return the key that the form was rendered with.

    Raises:
        FormRefused: it has none; none is made here, or a form that is sent twice would count twice.
    """
    key = form.get("key", "")
    if not _KEY.fullmatch(key):
        raise FormRefused(400)
    return key
