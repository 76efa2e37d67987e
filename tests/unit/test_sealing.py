"""Personal data come back with the key and the payment that they were encrypted for, and no other."""

from __future__ import annotations

import base64
from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger_server.domain.errors import FieldTooLong, PersonalKeysMissing
from ledger_server.domain.ids import TenantId, tenant_key
from ledger_server.engine.records.sealing import MAX_PLAIN_BYTES, new_key, plain_of, seal, server_keys, unseal
from ledger_server.rpc.violations import Violations

TENANT = tenant_key(TenantId("casino"))
OTHER = tenant_key(TenantId("poker"))
KEY = bytes(range(64))
# As protobuf has texts: any of Unicode but halves of a surrogate pair.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
DATA = st.dictionaries(TEXTS, TEXTS, max_size=6)
KEYS = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=40)


def line(name: str, key: bytes) -> str:
    """Return a line of a file of keys."""
    return f"{name} {base64.b64encode(key).decode()}\n"


@given(DATA, KEYS)
def test_seal_and_unseal_returns_the_data(data: dict[str, str], key: str) -> None:
    """Any data of any request; a retry makes the same bytes, so it can be told from another request."""
    sealed = seal(KEY, data, tenant=TENANT, player_id="ann", method="M", idempotency_key=key)
    again = seal(
        KEY, dict(reversed(data.items())), tenant=TENANT, player_id="ann", method="M", idempotency_key=key
    )

    assert unseal(KEY, sealed, tenant=TENANT, player_id="ann", method="M") == data
    assert sealed == again


@given(DATA, KEYS, KEYS)
def test_seal_same_data_of_two_requests_are_unlike(data: dict[str, str], one: str, two: str) -> None:
    """Nobody sees that two payments carry the same name."""
    bytes_of = [
        seal(KEY, data, tenant=TENANT, player_id="ann", method="M", idempotency_key=each)[17:]
        for each in (one, two)
    ]

    assert (bytes_of[0] == bytes_of[1]) == (one == two)


@given(DATA)
def test_seal_tells_the_length_in_steps_alone(data: dict[str, str]) -> None:
    """A name of eight letters looks like one of nine."""
    sealed = seal(KEY, data, tenant=TENANT, player_id="ann", method="M", idempotency_key="k")
    steps = -(-len(plain_of(data)) // 256)

    assert len(sealed) == 1 + 16 + 16 + 256 * steps


@pytest.mark.parametrize(
    ("key", "tenant", "player", "method"),
    [
        (new_key(), TENANT, "ann", "M"),
        (KEY, OTHER, "ann", "M"),
        (KEY, TENANT, "bob", "M"),
        (KEY, TENANT, "ann", "N"),
    ],
    ids=["key", "tenant", "player", "method"],
)
def test_unseal_for_another_is_refused(key: bytes, tenant: int, player: str, method: str) -> None:
    """Another key, tenant, player or kind of payment."""
    sealed = seal(KEY, {"a": "b"}, tenant=TENANT, player_id="ann", method="M", idempotency_key="k")

    with pytest.raises(ValueError, match="not of that payment"):
        unseal(key, sealed, tenant=tenant, player_id=player, method=method)  # type: ignore[arg-type]


@pytest.mark.parametrize("over", [0, 1])
def test_personal_data_are_bounded_as_a_whole(over: int) -> None:
    """No single text is too long: the sum is."""
    data = {f"{number:02}": "x" * 500 for number in range(8)}
    data["rest"] = "x" * (MAX_PLAIN_BYTES - len(plain_of({**data, "rest": ""})) + over)
    violations = Violations()

    violations.personal(data, "personal_metadata")

    with pytest.raises(FieldTooLong) if over else nullcontext():
        violations.check()


@given(st.data())
def test_unseal_of_altered_bytes_is_refused(data: st.DataObject) -> None:
    """Any byte: the form, what tells requests apart, the data."""
    sealed = seal(KEY, {"a": "b"}, tenant=TENANT, player_id="ann", method="M", idempotency_key="k")
    place = data.draw(st.integers(0, len(sealed) - 1))
    altered = bytes([*sealed[:place], sealed[place] ^ data.draw(st.integers(1, 255)), *sealed[place + 1 :]])

    with pytest.raises(ValueError, match="not of that payment"):
        unseal(KEY, altered, tenant=TENANT, player_id="ann", method="M")


def test_server_keys_rotate_by_the_first_line() -> None:
    """The first encrypts, all decrypt; who has lost one is told its name."""
    old, new = server_keys(line("a", KEY)), server_keys(line("b", new_key()) + line("a", KEY))
    kept = old.sealed(b"k" * 64, TENANT, "ann")
    renewed = new.sealed(new.opened(kept, TENANT, "ann"), TENANT, "ann")

    assert (kept.key_name, renewed.key_name) == ("a", "b")
    assert new.opened(renewed, TENANT, "ann") == b"k" * 64
    for sealed, tenant, player in ((renewed, TENANT, "ann"), (kept, TENANT, "bob"), (kept, OTHER, "ann")):
        with pytest.raises(PersonalKeysMissing):
            old.opened(sealed, tenant, player)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n\n",
        "a\n",
        line("a", KEY[:63]),
        line("a", KEY[:32]),
        line("", KEY),
        line("a", KEY) + line("a", KEY),
        line("é", KEY),
        line("a", KEY).replace("A", "*"),
        line("x" * 65, KEY),
    ],
)
def test_server_keys_of_another_file_are_refused(text: str) -> None:
    """A start with half a key would be found out when it is too late; no message repeats one."""
    with pytest.raises(ValueError, match=r"line \d|no key") as caught:
        server_keys(text)

    assert base64.b64encode(KEY[:30]).decode() not in str(caught.value)
