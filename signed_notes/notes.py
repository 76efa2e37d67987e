"""Owns signed notes as c2sp.org/signed-note has them: their bytes, Ed25519 signatures, and keys as text.

Keys are written as Go's `golang.org/x/mod/sumdb/note` writes them, so that stock tools read both.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_ED25519: Final = b"\x01"
_DASH: Final = "— "
_PRIVATE: Final = "PRIVATE+KEY+"
# `splitlines` knows more ends of lines than a note has.
_LINE: Final = re.compile(r"[^\n]*\n|[^\n]+")
_KEY_BYTES: Final = 32
_ID_BYTES: Final = 4
# Go's implementation has the same bound.
_MOST_SIGNATURES: Final = 100


class NoteMalformed(ValueError):
    """The bytes are no signed note; the text says what is wrong."""


class KeyMalformed(ValueError):
    """The text is no key, or its name can't be one; the text never repeats a private key."""


class KeyUnknown(Exception):
    """No key that is known has signed the note."""


class SignatureWrong(Exception):
    """A known key's signature is not of this text."""


class KeyId(NamedTuple):
    """What names a key in a note: its name, and four bytes that follow from name and public key."""

    name: str
    number: bytes

    def __str__(self) -> str:
        """Return it as in the text of a public key."""
        return f"{self.name}+{self.number.hex()}"


class Signature(NamedTuple):
    """A signature, whoever has made it."""

    key: KeyId
    content: bytes

    def __str__(self) -> str:
        """Return it as a line of a note."""
        return f"{_DASH}{self.key.name} {_encoded(self.key.number + self.content)}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierKey:
    """A public key with its name."""

    key: KeyId
    public: bytes

    @classmethod
    def of(cls, name: str, public: bytes) -> Self:
        """Return the key of this name. Raises KeyMalformed."""
        if not _is_name(name):
            raise KeyMalformed("a key's name is not empty and has no blank, plus or control character")
        number = hashlib.sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:_ID_BYTES]
        return cls(key=KeyId(name, number), public=public)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the key whose text this is. Raises KeyMalformed."""
        name, number, public = _key_parts(text)
        found = cls.of(name, public)
        if found.key.number.hex() != number:
            raise KeyMalformed("the key's id does not follow from its name and its bytes")
        return found

    def __str__(self) -> str:
        """Return the key as text, one line without its end."""
        return f"{self.key}+{_encoded(_ED25519 + self.public)}"

    def check(self, text: str, signature: bytes) -> None:
        """Raise SignatureWrong unless the key has signed this text."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
        except InvalidSignature:
            raise SignatureWrong from None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerKey:
    """A private key with its name."""

    verifier: VerifierKey
    seed: bytes = field(repr=False)

    @classmethod
    def new(cls, name: str) -> Self:
        """Make a key. Raises KeyMalformed: the name can't be one."""
        return cls._of(name, Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the key whose text this is. Raises KeyMalformed."""
        if not text.startswith(_PRIVATE):
            raise KeyMalformed(f"a private key begins with {_PRIVATE}")
        name, number, seed = _key_parts(text.removeprefix(_PRIVATE))
        found = cls._of(name, seed)
        if found.verifier.key.number.hex() != number:
            raise KeyMalformed("the key's id does not follow from its name and its bytes")
        return found

    @classmethod
    def _of(cls, name: str, seed: bytes) -> Self:
        public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
        return cls(verifier=VerifierKey.of(name, public), seed=seed)

    def private_text(self) -> str:
        """Return the private key as text, one line without its end."""
        return f"{_PRIVATE}{self.verifier.key}+{_encoded(_ED25519 + self.seed)}"

    def sign(self, text: str) -> "Note":
        """Return the note of a text, with this key's signature. Raises NoteMalformed: it can't be one's."""
        content = Ed25519PrivateKey.from_private_bytes(self.seed).sign(text.encode())
        note = Note(text, (Signature(self.verifier.key, content),))
        if Note.parse(str(note)) != note:
            raise NoteMalformed("a note's text ends with a whole line")
        return note


class Note(NamedTuple):
    """A text, with its last line's end, and the signatures below it."""

    text: str
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, content: str) -> Self:
        """Return the note that has this content, to the byte. Raises NoteMalformed."""
        if any(each < " " and each != "\n" for each in content):
            raise NoteMalformed("a note has no control characters")
        text, gap, below = content.rpartition("\n\n")
        if not gap or not text:
            raise NoteMalformed("a note is a text, an empty line and signatures")
        lines = below.split("\n")
        if lines.pop() or not lines:
            raise NoteMalformed("a note ends with a whole signature line")
        if len(lines) > _MOST_SIGNATURES:
            raise NoteMalformed(f"a note has at most {_MOST_SIGNATURES} signatures")
        signatures = tuple(map(_signature, lines))
        if len({each.key for each in signatures}) != len(signatures):
            raise NoteMalformed("a key signs a note once")
        return cls(f"{text}\n", signatures)

    def __str__(self) -> str:
        """Return the note's content."""
        return f"{self.text}\n{''.join(map(str, self.signatures))}"

    def signed_by(self, keys: Iterable[VerifierKey]) -> list[VerifierKey]:
        """Return which of these keys have signed.

        Raises:
            SignatureWrong: a signature by one of them is not of this text.
            KeyUnknown: none of them has signed.
        """
        known = {each.key: each for each in keys}
        found = [(known[each.key], each.content) for each in self.signatures if each.key in known]
        for key, content in found:
            key.check(self.text, content)
        if not found:
            raise KeyUnknown
        return [key for key, _ in found]


def split_notes(content: str) -> Iterator[tuple[int, str]]:
    """Yield the contents of notes that follow each other, each with the number of its first line.

    A note ends where a line that is none of a signature follows one that is; no text of ours begins as
    signatures do.
    """
    first, signed = 1, False
    begun: list[str] = []
    for number, line in enumerate(_LINE.findall(content), 1):
        signs = line.startswith(_DASH)
        if signed and not signs:
            yield first, "".join(begun)
            first, begun = number, []
        begun.append(line)
        signed = signs
    if begun:
        yield first, "".join(begun)


def _signature(line: str) -> Signature:
    words = line.removeprefix(_DASH).split(" ")
    if not line.startswith(_DASH) or len(words) != len(("name", "signature")) or not _is_name(words[0]):
        raise NoteMalformed("a signature line is a dash, a key's name and base64")
    content = _decoded(words[1])
    if content is None or len(content) <= _ID_BYTES:
        raise NoteMalformed("a signature is the base64 of a key's id and more")
    return Signature(KeyId(words[0], content[:_ID_BYTES]), content[_ID_BYTES:])


def _key_parts(text: str) -> tuple[str, str, bytes]:
    """Return name, id in hex and the 32 bytes of an Ed25519 key."""
    parts = text.split("+", 2)
    content = _decoded(parts[-1])
    if len(parts) != len(("name", "id", "key")) or content is None or content[:1] != _ED25519:
        raise KeyMalformed("an Ed25519 key is NAME+ID+BASE64, as `defter head key` writes it")
    if len(content) != len(_ED25519) + _KEY_BYTES:
        raise KeyMalformed("an Ed25519 key has 32 bytes")
    return parts[0], parts[1], content[1:]


def _is_name(name: str) -> bool:
    return bool(name) and not any(each == "+" or each < " " or each.isspace() for each in name)


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _decoded(text: str) -> bytes | None:
    """Return what a text is the one base64 of."""
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return content if _encoded(content) == text else None
