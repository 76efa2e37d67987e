"""Owns where a request names a person: who reviews a withdrawal, changes a finding or stops calls."""

from typing import Final

from google.protobuf.descriptor import MethodDescriptor

PERSONS: Final = ("reviewer", "actor")
"""Names of fields that say whose decision a request is; on a guarded server that is proved.

Whom a finding is given to (`assignee`) decides nothing and is a text like others.
"""


def person_field(method: MethodDescriptor) -> str:
    """Return the field of a method's requests that names a person; empty if none does."""
    fields = method.input_type.fields_by_name
    return next((name for name in PERSONS if name in fields), "")
