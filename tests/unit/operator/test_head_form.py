"""Published heads as bytes: as the specifications have them, there and back, no change unnoticed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger_server.operator.head_form import (
    FileBroken,
    FiledHead,
    PublishedHead,
    SignerUnknown,
    check_signatures,
    contradiction,
    read_heads,
)
from signed_notes.notes import (
    KeyMalformed,
    Note,
    NoteMalformed,
    SignatureWrong,
    SignerKey,
    VerifierKey,
    split_notes,
)

ROOT = Path(__file__).parents[3]
# The example of Go's golang.org/x/mod/sumdb/note, in its documentation and tests.
PRIVATE = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
PUBLIC = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
SIGNED = (
    f"{TEXT}\n— PeterNeumann"
    " x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
# The examples of c2sp.org/signed-note and c2sp.org/tlog-checkpoint.
WITH_EMPTY_LINES = (
    "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n"
    "— quasimodo.example/salvatore"
    " NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n"
)
CHECKPOINT = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa"
    " Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
)
KEY = SignerKey.new("ledger.example/defter")
OTHER = SignerKey.new("ledger.example/defter")
HEAD = PublishedHead(
    key_name="ledger.example/defter",
    tenant_id="casino",
    sequence=1_284,
    chain_hash=bytes(range(32)),
    epoch="k3x9abcd",
    time=datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC),
)
NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"], exclude_characters="+"), min_size=1
)
HEADS = st.builds(
    PublishedHead,
    key_name=NAMES,
    tenant_id=st.from_regex(r"[a-z][a-z0-9-]{0,62}", fullmatch=True),
    sequence=st.integers(1, 2**63 - 1),
    chain_hash=st.binary(min_size=32, max_size=32),
    epoch=st.text("0123456789abcdefghjkmnpqrstvwxyz", min_size=8, max_size=8) | st.just(""),
    # From 2020 to 9999.
    time=st.integers(1_577_836_800, 253_402_300_799).map(
        lambda seconds: datetime.fromtimestamp(seconds, UTC)
    ),
)


def signed(*heads: PublishedHead, key: SignerKey = KEY) -> str:
    """Return a file of heads."""
    return "".join(str(key.sign(head.text)) for head in heads)


def opened(content: bytes, *keys: SignerKey) -> list[FiledHead]:
    """Return a file's heads, whose signatures hold."""
    heads = read_heads(content)
    check_signatures(heads, [key.verifier for key in keys or (KEY,)])
    return heads


def test_note_of_the_reference_is_made_to_the_byte() -> None:
    """So stock tools read what is published."""
    key = SignerKey.parse(PRIVATE)

    assert str(key.verifier) == PUBLIC
    assert key.private_text() == PRIVATE
    assert str(key.sign(TEXT)) == SIGNED


@pytest.mark.parametrize("content", [SIGNED, WITH_EMPTY_LINES, CHECKPOINT])
def test_note_of_the_specifications_is_read_to_the_byte(content: str) -> None:
    """Its text ends before the last empty line."""
    note = Note.parse(content)

    assert str(note) == content
    assert note.text == content.rpartition("\n\n")[0] + "\n"


def test_note_of_the_reference_is_verified() -> None:
    """And a changed one is not."""
    key = VerifierKey.parse(PUBLIC)
    assert Note.parse(SIGNED).signed_by([key]) == [key]
    with pytest.raises(SignatureWrong):
        Note.parse(SIGNED.replace("problem is", "problem was")).signed_by([key])


def test_head_is_a_checkpoint() -> None:
    """Origin, size, hash, and lines of our own that say that the hash is no Merkle root."""
    assert HEAD.text == (
        "ledger.example/defter/casino\n1284\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
        "defter hash chain 1\nepoch k3x9abcd\ntime 2030-01-02T03:04:05Z\n"
    )


def test_head_is_told_as_it_is_written() -> None:
    """Operators read it on the page, and may write tools by it."""
    _, _, below = (ROOT / "docs" / "operations" / "heads.md").read_text().partition("\n\n```\n")
    text = below.partition("\n\n")[0] + "\n"

    assert PublishedHead.parse(text).text == text


@given(heads=st.lists(HEADS, max_size=4), private=st.binary(min_size=32, max_size=32))
def test_heads_come_back_as_they_were_published(heads: list[PublishedHead], private: bytes) -> None:
    """Whatever they say, one after the other in one file, each at its line."""
    content = "".join(str(SignerKey._of(head.key_name, private).sign(head.text)) for head in heads)

    read = read_heads(content.encode())

    assert [each.head for each in read] == heads
    assert [each.line for each in read] == [1 + 8 * number for number in range(len(heads))]
    check_signatures(read, [SignerKey._of(head.key_name, private).verifier for head in heads])


@given(NAMES, st.binary(min_size=32, max_size=32))
def test_keys_come_back_as_they_were_written(name: str, private: bytes) -> None:
    """The private and the public one."""
    key = SignerKey._of(name, private)

    assert SignerKey.parse(key.private_text()) == key
    assert VerifierKey.parse(str(key.verifier)) == key.verifier
    assert repr(private) not in repr(key)


def changed() -> Iterator[tuple[str, bytes]]:
    """Yield files of two heads in which one byte or one line is another one, more or missing."""
    content = signed(HEAD, HEAD).encode()
    for index in range(len(content)):
        for bits in (1, 2, 0x20, 0x80):
            other = bytes([content[index] ^ bits])
            yield f"byte {index} ^ {bits}", content[:index] + other + content[index + 1 :]
        yield f"byte {index} is missing", content[:index] + content[index + 1 :]
        for more in (b" ", b"\n", b"0", b"\r", b"="):
            yield f"{more!r} before {index}", content[:index] + more + content[index:]
    lines = content.splitlines(keepends=True)
    for index, line in enumerate(lines):
        yield f"line {index} is missing", b"".join(lines[:index] + lines[index + 1 :])
        yield f"line {index} twice", b"".join([*lines[: index + 1], line, *lines[index + 1 :]])
        swapped = [*lines[:index], *lines[index + 1 : index + 2], line, *lines[index + 2 :]]
        if swapped != lines:
            yield f"line {index} after the next", b"".join(swapped)
    yield "the end is missing", content[:-1]
    yield "something follows", content + b"x"


def test_file_that_was_changed_anywhere_is_refused() -> None:
    """By its form or by a signature; no change goes unnoticed."""
    assert len(opened(signed(HEAD, HEAD).encode())) == 2
    count = 0
    for what, content in changed():
        with pytest.raises((FileBroken, SignerUnknown)) as refused:
            opened(content)
        assert str(refused.value).startswith("line "), what
        count += 1
    assert count > 5_000


def test_file_that_ends_anywhere_else_is_refused() -> None:
    """A copy that broke off: only whole heads are heads."""
    content = signed(HEAD, HEAD).encode()
    whole = {0, len(content) // 2, len(content)}
    for length in range(len(content) + 1):
        if length in whole:
            assert len(opened(content[:length])) == 2 * length // len(content)
            continue
        with pytest.raises((FileBroken, SignerUnknown)):
            opened(content[:length])


@pytest.mark.parametrize(
    "text",
    [
        HEAD.text.replace("1284", "01284"),
        HEAD.text.replace("1284", "0"),
        HEAD.text.replace("1284", "-1"),
        HEAD.text.replace("1284", "１２８４"),
        HEAD.text.replace("1284", "1" * 20),
        HEAD.text.replace("Hh8=", "Hh9="),
        HEAD.text.replace("casino", "Casino"),
        HEAD.text.replace("k3x9abcd", "k3x9abcl"),
        HEAD.text.replace("k3x9abcd", ""),
        HEAD.text.replace("2030-01-02", "2030-02-30"),
        HEAD.text.replace("chain 1", "chain 2"),
        HEAD.text + "more of it\n",
        TEXT,
    ],
)
def test_note_that_is_no_head_is_refused_although_it_is_signed(text: str) -> None:
    """One way to write each head, and no other."""
    with pytest.raises(FileBroken, match="line 1"):
        opened(str(KEY.sign(text)).encode())


@pytest.mark.parametrize("text", ["", "no end", "a\x00b\n", "a\rb\n", "a\tb\n"])
def test_text_that_can_be_none_of_a_note_is_not_signed(text: str) -> None:
    """What is signed can be read by everybody."""
    with pytest.raises(NoteMalformed):
        KEY.sign(text)


def test_head_counts_by_the_key_that_its_origin_names() -> None:
    """Not by another key of that name, nor by a known key of another name."""
    stranger = SignerKey.new("stranger.example")
    for content, known in (
        (signed(HEAD, key=OTHER), [KEY]),
        (signed(HEAD), [OTHER]),
        (signed(HEAD, key=stranger), [KEY, stranger]),
        (signed(HEAD), []),
    ):
        with pytest.raises(SignerUnknown, match=r"line 1 \(tenant casino, record 1284\)"):
            check_signatures(read_heads(content.encode()), [key.verifier for key in known])


def test_unknown_signatures_are_passed_over_and_known_ones_must_hold() -> None:
    """Witnesses may sign below; who is known and signs something else spoils the head."""
    witness = SignerKey.new("witness.example")
    [ours], [theirs] = KEY.sign(HEAD.text).signatures, witness.sign(HEAD.text).signatures
    both = str(Note(HEAD.text, (theirs, ours))).encode()
    assert opened(both) == opened(both, KEY, witness)
    [of_other_text] = witness.sign("something else\n").signatures
    spoilt = str(Note(HEAD.text, (of_other_text, ours))).encode()
    assert len(opened(spoilt)) == 1
    with pytest.raises(FileBroken, match="signature"):
        opened(spoilt, KEY, witness)
    twice = str(Note(HEAD.text, (ours, ours))).encode()
    with pytest.raises(FileBroken):
        opened(twice)
    for count, refused in ((100, False), (101, True)):
        others = tuple(
            SignerKey._of(f"w{n}", bytes(32)).sign(HEAD.text).signatures[0] for n in range(count - 1)
        )
        content = str(Note(HEAD.text, (*others, ours))).encode()
        if refused:
            with pytest.raises(FileBroken):
                opened(content)
        else:
            assert len(opened(content)) == 1


def test_public_key_that_was_mangled_is_refused() -> None:
    """Any part of it, and any letter that is the next one; as the reference tests its own."""
    for begin in range(len(PUBLIC)):
        for end in range(begin + 1, len(PUBLIC) + 1):
            if (begin, end) != (0, len(PUBLIC)):
                with pytest.raises(KeyMalformed):
                    VerifierKey.parse(PUBLIC[begin:end])
    for index, letter in enumerate(PUBLIC):
        with pytest.raises(KeyMalformed):
            VerifierKey.parse(PUBLIC[:index] + chr(ord(letter) + 1) + PUBLIC[index + 1 :])
    for unfit in (
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        PRIVATE,
        f"{PUBLIC}\n",
        "",
    ):
        with pytest.raises(KeyMalformed):
            VerifierKey.parse(unfit)


@pytest.mark.parametrize("unfit", [PUBLIC, "", PRIVATE[:-1], PRIVATE.replace("a3", "a4"), f"{PRIVATE}\n"])
def test_private_key_that_is_none_is_refused_without_repeating_it(unfit: str) -> None:
    """Errors come into logs."""
    with pytest.raises(KeyMalformed) as refused:
        SignerKey.parse(unfit)
    assert "AYEKFALV" not in str(refused.value)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u00a0b", "a\u3000b", "a\x00b"])
def test_name_that_can_be_none_of_a_key_is_refused(name: str) -> None:
    """The specification's rule."""
    with pytest.raises(KeyMalformed):
        SignerKey.new(name)


@pytest.mark.parametrize(
    ("published", "follows"),
    [
        ((), True),
        ((("casino", 1_284, bytes(range(32))),), True),
        ((("casino", 1_283, bytes(32)),), True),
        ((("casino", 1_285, bytes(32)),), False),
        ((("casino", 1_285, bytes(32)), ("casino", 1_200, bytes(32))), False),
        ((("casino", 1_284, bytes(32)),), False),
        ((("casino", 1_284, bytes(range(32))), ("casino", 1_284, bytes(32))), False),
        ((("poker", 1_285, bytes(32)),), True),
    ],
)
def test_head_follows_what_was_published_before(
    published: tuple[tuple[str, int, bytes], ...], *, follows: bool
) -> None:
    """Nobody signs what takes an earlier head back."""
    before = [
        PublishedHead(
            key_name=HEAD.key_name,
            tenant_id=tenant,
            sequence=sequence,
            chain_hash=chain_hash,
            epoch=HEAD.epoch,
            time=HEAD.time,
        )
        for tenant, sequence, chain_hash in published
    ]

    assert (contradiction(read_heads(signed(*before).encode()), HEAD) == "") == follows


@given(st.text())
def test_any_text_is_split_into_all_of_it(content: str) -> None:
    """Nothing gets lost between two notes."""
    assert "".join(each for _, each in split_notes(content)) == content
