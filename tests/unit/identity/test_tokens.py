"""A token proves its subject, if a known key has signed it, for this audience, and it is its time."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger_server.domain import errors
from ledger_server.identity.caller import Caller
from ledger_server.identity.tokens import Expected, TokenKeys
from tests.support.certificates import AUDIENCE, ISSUER, Signer, key_set

NOW = 1_800_000_000.0
EXPECTED = Expected(issuer=ISSUER, audience=AUDIENCE)
SIGNERS = {name: Signer(name, key_id=name) for name in ("RS256", "ES256", "EdDSA")}
KEYS = TokenKeys(key_set(*SIGNERS.values()))
SIGNER = SIGNERS["ES256"]


def part(value: object) -> str:
    """Return a part of a token by hand."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("signer", SIGNERS.values(), ids=SIGNERS)
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_token_of_each_algorithm_proves_its_subject(signer: Signer, scheme: str) -> None:
    """With its claims, by which a policy may choose."""
    text = signer.sign(NOW, groups=["a", "b"], team="casino", level=3)
    token = KEYS.token(f"{scheme} {text}", EXPECTED)
    token.check_time(NOW)
    assert token.caller == Caller(
        "token:ada",
        (
            ("aud", (AUDIENCE,)),
            ("groups", ("a", "b")),
            ("iss", (ISSUER,)),
            ("sub", ("ada",)),
            ("team", ("casino",)),
        ),
    )


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"iss": "https://other.example"}, errors.TokenIssuerOther),
        ({"iss": None}, errors.TokenIssuerOther),
        ({"aud": "others"}, errors.TokenAudienceOther),
        ({"aud": ["others", "defter2"]}, errors.TokenAudienceOther),
        ({"aud": None}, errors.TokenAudienceOther),
        ({"aud": []}, errors.TokenAudienceOther),
        ({"exp": None}, errors.TokenMalformed),
        ({"exp": True}, errors.TokenMalformed),
        ({"exp": "tomorrow"}, errors.TokenMalformed),
        ({"exp": 1e300}, errors.TokenMalformed),
        ({"exp": float("inf")}, errors.TokenMalformed),
        ({"exp": float("nan")}, errors.TokenMalformed),
        ({"nbf": "today"}, errors.TokenMalformed),
        ({"nbf": False}, errors.TokenMalformed),
        ({"sub": None}, errors.TokenMalformed),
        ({"sub": ""}, errors.TokenMalformed),
        ({"sub": "a\nb"}, errors.TokenMalformed),
        ({"sub": "a" * 201}, errors.TokenMalformed),
    ],
)
def test_token_that_says_something_else_is_refused(
    claims: dict[str, Any], reason: type[errors.Unauthenticated]
) -> None:
    """Each claim has its own reason."""
    with pytest.raises(reason):
        KEYS.token(f"Bearer {SIGNER.sign(NOW, **claims)}", EXPECTED)


@given(begin=st.integers(-100, 100), length=st.integers(1, 100), after=st.integers(-300, 300))
def test_token_counts_from_nbf_until_before_exp(begin: int, length: int, after: int) -> None:
    """Whatever the times are; there is no leeway."""
    begin_time, end_time, now = NOW + begin, NOW + begin + length, NOW + after
    token = KEYS.token(f"Bearer {SIGNER.sign(NOW, nbf=begin_time, exp=end_time)}", EXPECTED)
    if now >= end_time:
        with pytest.raises(errors.TokenExpired):
            token.check_time(now)
    elif now < begin_time:
        with pytest.raises(errors.TokenNotYetValid):
            token.check_time(now)
    else:
        token.check_time(now)


@pytest.mark.parametrize("key_id", [*SIGNERS, None])
@pytest.mark.parametrize(
    "algorithm", ["none", "None", "NONE", "HS256", "HS384", "RS384", "PS256", "ES512", "", None, 7]
)
def test_token_of_another_algorithm_is_refused(key_id: str | None, algorithm: object) -> None:
    """An HMAC with the public key in any form, no signature at all, and whatever else."""
    header = {"alg": algorithm, "typ": "JWT"} | ({} if key_id is None else {"kid": key_id})
    claims = {"sub": "ada", "iss": ISSUER, "aud": AUDIENCE, "exp": NOW + 60}
    signed = f"{part(header)}.{part(claims)}"
    public = [
        b"",
        *(signer.public_pem for signer in SIGNERS.values()),
        *(json.dumps(signer.public).encode() for signer in SIGNERS.values()),
    ]
    for secret in public:
        mac = hmac.digest(secret, signed.encode(), hashlib.sha256) if secret else b""
        text = f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
        with pytest.raises((errors.TokenAlgorithmRefused, errors.TokenMalformed)) as caught:
            KEYS.token(f"Bearer {text}", EXPECTED)
        if isinstance(algorithm, str):
            assert isinstance(caught.value, errors.TokenAlgorithmRefused)


@pytest.mark.parametrize("signed_by", SIGNERS.values(), ids=SIGNERS)
@pytest.mark.parametrize("named", SIGNERS)
def test_token_that_names_another_key_is_refused(signed_by: Signer, named: str) -> None:
    """The key decides on the algorithm, whatever the token says."""
    if signed_by.algorithm == named:
        return
    with pytest.raises(errors.TokenAlgorithmRefused):
        KEYS.token(f"Bearer {signed_by.sign(NOW, {'kid': named})}", EXPECTED)


@pytest.mark.parametrize("algorithm", SIGNERS)
def test_token_of_an_unknown_key_is_refused(algorithm: str) -> None:
    """By its id; and by its signature where the id is a known one."""
    stranger = Signer(algorithm, key_id="stranger")
    with pytest.raises(errors.TokenKeyUnknown):
        KEYS.token(f"Bearer {stranger.sign(NOW)}", EXPECTED)
    with pytest.raises(errors.TokenSignatureInvalid):
        KEYS.token(f"Bearer {stranger.sign(NOW, {'kid': algorithm})}", EXPECTED)


def test_token_without_key_id_needs_that_there_is_one_key() -> None:
    """With several keys nobody guesses."""
    text = jwt.encode(
        {"sub": "ada", "iss": ISSUER, "aud": AUDIENCE, "exp": NOW + 60}, SIGNER.key, algorithm="ES256"
    )
    assert TokenKeys(key_set(SIGNER)).token(f"Bearer {text}", EXPECTED).caller.identity == "token:ada"
    with pytest.raises(errors.TokenKeyUnknown):
        KEYS.token(f"Bearer {text}", EXPECTED)


@given(st.text(max_size=200))
def test_whatever_is_no_token_is_refused(text: str) -> None:
    """With a reason, never by another error."""
    for authorization in (text, f"Bearer {text}", f"Bearer {SIGNER.sign(NOW)}{text or '.'}"):
        with pytest.raises(errors.Unauthenticated):
            KEYS.token(authorization, EXPECTED)


@given(
    st.sampled_from(["alg", "kid", "typ", "crit"]),
    st.one_of(
        st.text(max_size=5),
        st.sampled_from(["\ud800", "a\nb"]),
        st.none(),
        st.integers(),
        st.lists(st.text()),
    ),
)
def test_whatever_a_header_says_has_an_answer(name: str, value: object) -> None:
    """A refusal whose facts can be told, or the caller; never another error."""
    _, claims, signature = SIGNER.sign(NOW).split(".")
    header = part({"alg": "ES256", "kid": SIGNER.key_id, name: value})
    with pytest.raises(errors.Unauthenticated) as caught:
        KEYS.token(f"Bearer {header}.{claims}.{signature[::-1]}", EXPECTED)
    "".join(caught.value.metadata.values()).encode()


@given(st.integers(0, 10_000), st.characters(codec="ascii"))
def test_token_with_any_character_changed_is_refused(place: int, character: str) -> None:
    """Or it is another spelling of the same bytes."""
    text = SIGNERS["EdDSA"].sign(NOW)
    place %= len(text)
    changed = text[:place] + character + text[place + 1 :]
    try:
        token = KEYS.token(f"Bearer {changed}", EXPECTED)
    except errors.Unauthenticated:
        return
    assert token == KEYS.token(f"Bearer {text}", EXPECTED)
    # Only the last character of a signature has bits that count for nothing.
    assert changed[:-1] == text[:-1]


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        (b"", "no JSON"),
        (b"[]", "no JSON"),
        (b'{"keys": []}', "no keys"),
        (b'{"keys": 1}', "no keys"),
        (b'{"keys": [1]}', "no key"),
        (b'{"keys": [{"kty": "oct", "k": "AAAA", "kid": "a"}]}', "symmetric"),
        (json.dumps({"keys": [{**SIGNER.public, "d": "AAAA"}]}).encode(), "private"),
        (json.dumps({"keys": [{**SIGNER.public, "use": "enc"}]}).encode(), "no keys for signatures"),
        (json.dumps({"keys": [{**SIGNER.public, "alg": "none"}]}).encode(), "can't be read|none"),
        (json.dumps({"keys": [{**SIGNER.public, "alg": ["EC"]}]}).encode(), "alg is no text"),
        (json.dumps({"keys": [{**SIGNER.public, "kid": ""}]}).encode(), "no kid"),
        (json.dumps({"keys": [{**SIGNER.public, "x": "AA"}]}).encode(), "can't be read"),
        (json.dumps({"keys": [{**SIGNERS["RS256"].public, "alg": "RS512"}]}).encode(), "RS512"),
        (json.dumps({"keys": [{**SIGNER.public, "alg": "HS256"}]}).encode(), "can't be read|HS256"),
        (key_set(SIGNER, SIGNER), "another one"),
    ],
)
def test_key_set_that_makes_no_sense_is_refused(keys: bytes, problem: str) -> None:
    """With a sentence for the operator."""
    with pytest.raises(ValueError, match=problem):
        TokenKeys(keys)
