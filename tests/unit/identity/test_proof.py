"""A caller's files go together, or it is told which of them would do nothing."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from defter_channel import Proof, ProofUnusable
from tests.support.certificates import TestAuthority

FIELDS = ("authority_file", "certificate_file", "key_file", "token_file")
WHOLE: list[frozenset[str]] = [
    frozenset(),
    frozenset({"authority_file"}),
    frozenset({"authority_file", "token_file"}),
    frozenset({"authority_file", "certificate_file", "key_file"}),
]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A file for each field, all of which can be used."""
    authority = TestAuthority()
    issued = authority.issue(uris=["spiffe://d/edge"])
    contents = (authority.root.pem, issued.pem, issued.key_pem, b"token\n")
    for field, content in zip(FIELDS, contents, strict=True):
        (tmp_path / field).write_bytes(content)
    return {field: tmp_path / field for field in FIELDS}


@pytest.mark.parametrize("bits", list(product((False, True), repeat=4)))
def test_each_choice_of_files_is_whole_or_refused_by_name(
    files: dict[str, Path], bits: tuple[bool, ...]
) -> None:
    """A token without TLS, a certificate without its key, and both proofs at once are refused."""
    names = frozenset(field for field, there in zip(FIELDS, bits, strict=True) if there)
    proof = Proof(**{field: files[field] for field in names})
    if names in WHOLE:
        proof.read()
    else:
        with pytest.raises(ProofUnusable) as caught:
            proof.read()
        assert caught.value.field in names


@pytest.mark.parametrize("field", FIELDS)
def test_file_that_is_missing_is_named(files: dict[str, Path], field: str) -> None:
    """Whichever it is."""
    files[field].unlink()
    used = ("authority_file", "token_file") if field == "token_file" else FIELDS[:3]
    with pytest.raises(ProofUnusable) as caught:
        Proof(**{name: files[name] for name in used}).read()
    assert caught.value.field == field


@pytest.mark.parametrize("field", FIELDS[:3])
@pytest.mark.parametrize("content", [b"", b"garbage", TestAuthority().root.key_pem])
def test_file_that_can_not_be_used_is_named(files: dict[str, Path], field: str, content: bytes) -> None:
    """A broken one, or the key of another certificate; a token is the server's to judge."""
    files[field].write_bytes(content)
    with pytest.raises(ProofUnusable) as caught:
        Proof(**{name: files[name] for name in FIELDS[:3]}).read()
    # Which of certificate and key is the wrong one, nobody knows.
    assert (caught.value.field == "authority_file") == (field == "authority_file")
