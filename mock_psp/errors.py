"""Owns the provider's errors; `api` gives each its HTTP status."""


class ApiError(Exception):
    """A refusal with a code that programs can read; nothing was changed."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class InvalidRequest(ApiError):
    """The request is malformed or makes no sense where the object stands."""


class NotFound(ApiError):
    """There is nothing under that id."""


class Refused(ApiError):
    """A business refusal: the request was understood, and will not be done."""
