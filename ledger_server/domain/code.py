"""Owns the base of all closed lists whose numbers are stored or sent."""

from enum import IntEnum


class Code(IntEnum):
    """A member of a closed list.

    A code hashes as its number, in C: an enum's own hash is a Python function, and codes are keys of many
    dictionaries on the way of a posting. For the same reason hot code binds a member to a module's constant
    once: until Python 3.12, reading `Code.MEMBER` runs Python code each time.
    """

    __hash__ = int.__hash__
