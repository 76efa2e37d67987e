"""Own what a provider's answers prove: a right one signs somebody in, and every hostile one nobody."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import RSAKey
from pydantic import ValidationError
from starlette.responses import Response

from console.oidc.client import CALLBACK, ClientProof, OidcClient, SecretUnusable
from console.oidc.keys import ALGORITHMS
from console.oidc.logout_token import Logout, SeenLogouts
from console.oidc.pending import LIFE_SECONDS, PendingSignIns
from console.oidc.person import PREFIX, ClaimNames, ProviderPerson, person_of
from console.oidc.problems import Problem, SignInFailed
from console.oidc.provider import Provider as ProviderOfClient
from console.sessions import Sessions
from console.settings import USERS_FILE, ConsoleSettings
from console.users import check_name
from console.views import openid
from ledger_server.identity.issuing import new_signing_key
from ledger_server.identity.persons import LONGEST_PERSON, is_name
from ledger_server.identity.tokens import MAX_TOKEN_BYTES
from tests.console.oidc_provider import CLIENT, EVENT, SECRET, Claims, Provider, new_key, providing

ORIGIN = "https://console.example"
NAMES = ClaimNames(prefix=PREFIX, subject="sub", groups="groups", shown="name")
PEOPLE: dict[str, Claims] = {"ada": {"groups": ["payment-operators"], "name": "Ada Lovelace"}}


class Clock:
    """Seconds that a test moves; two of them, that never go back and since the epoch."""

    def __init__(self) -> None:
        self.passed = 0.0

    def monotonic(self) -> float:
        """Return the seconds that never go back."""
        return self.passed

    def now(self) -> float:
        """Return the seconds since the epoch."""
        return time.time() + self.passed


class Stage:
    """A provider and a client of it."""

    def __init__(self, provider: Provider, client: OidcClient, clock: Clock) -> None:
        self.provider = provider
        self.client = client
        self.clock = clock

    async def begun(self) -> tuple[str, list[tuple[str, str]]]:
        """Begin a sign-in and have the provider sign ada in; return the cookie and the answer."""
        token, address = await self.client.begin("/t/casino", origin=ORIGIN)
        return token, self.provider.answer_to(address, "ada")

    async def signed_in(self) -> tuple[ProviderPerson, str]:
        """Sign ada in."""
        token, answer = await self.begun()
        return await self.client.complete(token, answer, origin=ORIGIN)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """A provider that knows ada, and a client of it with a clock that stands still."""
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}\n")
    clock = Clock()
    async with providing(**PEOPLE) as provider:
        provider.redirects.add(ORIGIN + CALLBACK)
        proof = ClientProof(CLIENT, secret_file=secret, key_file=None)
        client = OidcClient(
            ProviderOfClient(provider.issuer, authority_file=None, now=clock.monotonic),
            proof,
            client_id=CLIENT,
            scopes="openid profile",
            names=NAMES,
            monotonic=clock.monotonic,
            now=clock.now,
        )
        try:
            yield Stage(provider, client, clock)
        finally:
            await client.provider.close()


async def failing(work: Any) -> Problem:
    """Return why nobody is signed in."""
    with pytest.raises(SignInFailed) as caught:
        await work
    return caught.value.problem


def with_claims(**changes: Any) -> Callable[[Provider], None]:
    """Return a lie about claims; None leaves one out."""

    def lie(provider: Provider) -> None:
        def change(claims: Claims) -> None:
            claims.update(changes)
            for name, value in changes.items():
                if value is None:
                    del claims[name]

        provider.lies.claims = change

    return lie


def with_token(make: Callable[[Provider, Claims], Any]) -> Callable[[Provider], None]:
    """Return a lie about the whole token."""

    def lie(provider: Provider) -> None:
        provider.lies.token = make

    return lie


def with_answer(make: Callable[[dict[str, Any]], Any]) -> Callable[[Provider], None]:
    """Return a lie about the answer to a code."""

    def lie(provider: Provider) -> None:
        provider.lies.answer = make

    return lie


def part(value: object) -> str:
    """Return a part of a token by hand."""
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def by_hmac(provider: Provider, claims: Claims, secret: bytes, **header: Any) -> str:
    """Return a token with a HMAC as its signature."""
    signed = f"{part({'alg': 'HS256', 'kid': provider.key.kid, **header})}.{part(claims)}"
    return f"{signed}.{part(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def unsigned(provider: Provider, claims: Claims) -> str:
    """Return a token without a signature, which says so."""
    return f"{part({'alg': 'none', 'kid': provider.key.kid})}.{part(claims)}."


def by_another_key(provider: Provider, claims: Claims, key_id: str) -> str:
    """Return a token that somebody else has signed."""
    return Provider(provider.issuer, key=new_key(key_id)).signed(claims)


def by_a_key_of_its_own(provider: Provider, claims: Claims) -> str:
    """Return a token that brings its own key along."""
    key = new_key("one")
    header: dict[str, Any] = {"jwk": key.as_dict(private=False), "jku": "https://evil.example/keys"}
    return Provider(provider.issuer, key=key).signed(claims, **header)


def tampered(provider: Provider, claims: Claims) -> str:
    """Return a token whose claims were changed behind its signature."""
    header, _, signature = provider.signed(claims).split(".")
    return f"{header}.{part({**claims, 'sub': 'grace'})}.{signature}"


def signed_list(provider: Provider) -> str:
    """Return a token that is signed, and has no claims."""
    header = {"alg": "ES256", "kid": provider.key.kid}
    return jws.serialize_compact(header, b"[1]", provider.key, ["ES256"])


NOW = int(time.time())
P = Problem
TOKENS: dict[str, tuple[Callable[[Provider], None], Problem]] = {
    "nonce of another sign-in": (with_claims(nonce="other"), P.TOKEN_NONCE_OTHER),
    "no nonce": (with_claims(nonce=None), P.TOKEN_NONCE_OTHER),
    "nonce that is no text": (with_claims(nonce=["x"]), P.TOKEN_NONCE_OTHER),
    "another issuer": (with_claims(iss="https://evil.example"), P.TOKEN_ISSUER_OTHER),
    "no issuer": (with_claims(iss=None), P.TOKEN_ISSUER_OTHER),
    "issuers": (with_claims(iss=["https://evil.example"]), P.TOKEN_ISSUER_OTHER),
    "for another client": (with_claims(aud="other"), P.TOKEN_AUDIENCE_OTHER),
    "for nobody": (with_claims(aud=None), P.TOKEN_AUDIENCE_OTHER),
    "for others alone": (with_claims(aud=["other", "another"]), P.TOKEN_AUDIENCE_OTHER),
    "for others too, and of nobody": (with_claims(aud=[CLIENT, "other"]), P.TOKEN_AUDIENCE_OTHER),
    "for others too, and of one": (with_claims(aud=[CLIENT, "other"], azp="other"), P.TOKEN_AUDIENCE_OTHER),
    "of another client": (with_claims(azp="other"), P.TOKEN_AUDIENCE_OTHER),
    "expired": (with_claims(exp=NOW - 3_600), P.TOKEN_EXPIRED),
    "never expires": (with_claims(exp=None), P.TOKEN_EXPIRED),
    "expires at no time": (with_claims(exp=float("nan")), P.TOKEN_MALFORMED),
    "expires at the end of time": (with_claims(exp=float("inf")), P.TOKEN_MALFORMED),
    "expires in words": (with_claims(exp="tomorrow"), P.TOKEN_EXPIRED),
    "of the future": (with_claims(iat=NOW + 36_000, exp=NOW + 72_000), P.TOKEN_EXPIRED),
    "not yet": (with_claims(nbf=NOW + 36_000), P.TOKEN_EXPIRED),
    "no time": (with_claims(iat=None), P.TOKEN_EXPIRED),
    "nobody": (with_claims(sub=None), P.SUBJECT_UNUSABLE),
    "empty subject": (with_claims(sub=""), P.SUBJECT_UNUSABLE),
    "subject that is no text": (with_claims(sub=42), P.SUBJECT_UNUSABLE),
    "subject with a blank": (with_claims(sub="ada lovelace"), P.SUBJECT_UNUSABLE),
    "subject in other letters": (with_claims(sub="аda"), P.SUBJECT_UNUSABLE),
    "subject that is too long": (with_claims(sub="a" * LONGEST_PERSON), P.SUBJECT_UNUSABLE),
    "too many groups": (with_claims(groups=[f"group-{n}" for n in range(1_000)]), P.TOO_MANY_GROUPS),
    "another access token": (with_claims(at_hash="other"), P.TOKEN_HASH_OTHER),
    "hash that is no text": (with_claims(at_hash=["x"]), P.TOKEN_CLAIM_INVALID),
    "unsigned": (with_token(unsigned), P.TOKEN_ALGORITHM_REFUSED),
    "HMAC with the public key": (
        with_token(lambda p, claims: by_hmac(p, claims, p.key.as_pem(private=False))),
        P.TOKEN_ALGORITHM_REFUSED,
    ),
    "HMAC with the client's secret": (
        with_token(lambda p, claims: by_hmac(p, claims, SECRET.encode())),
        P.TOKEN_ALGORITHM_REFUSED,
    ),
    "HMAC that says another algorithm": (
        with_token(lambda p, claims: by_hmac(p, claims, p.key.as_pem(private=False), alg="ES256")),
        P.TOKEN_SIGNATURE_INVALID,
    ),
    "algorithm of another kind of key": (
        with_token(lambda p, claims: by_hmac(p, claims, b"x", alg="RS256")),
        P.TOKEN_KEY_UNKNOWN,
    ),
    "algorithms": (
        with_token(lambda p, claims: by_hmac(p, claims, b"x", alg=["ES256"])),
        P.TOKEN_ALGORITHM_REFUSED,
    ),
    "unknown key": (with_token(lambda p, claims: by_another_key(p, claims, "two")), P.TOKEN_KEY_UNKNOWN),
    "another's signature": (
        with_token(lambda p, claims: by_another_key(p, claims, "one")),
        P.TOKEN_SIGNATURE_INVALID,
    ),
    "key in the header": (with_token(by_a_key_of_its_own), P.TOKEN_SIGNATURE_INVALID),
    "changed claims": (with_token(tampered), P.TOKEN_SIGNATURE_INVALID),
    "extensions": (
        with_token(lambda p, claims: by_hmac(p, claims, b"x", alg="ES256", crit=["exp"])),
        P.TOKEN_MALFORMED,
    ),
    "no JWT": (with_token(lambda *_: "nothing"), P.TOKEN_MALFORMED),
    "three parts of nothing": (with_token(lambda *_: ".."), P.TOKEN_MALFORMED),
    "no JSON": (with_token(lambda *_: f"{part(b'x')}.{part(b'x')}.x"), P.TOKEN_MALFORMED),
    "header that is a list": (with_token(lambda *_: f"{part([])}.{part({})}.x"), P.TOKEN_MALFORMED),
    "claims that are a list": (with_token(lambda p, _: signed_list(p)), P.TOKEN_MALFORMED),
    "very long": (with_token(lambda *_: "x" * 20_000), P.TOKEN_MALFORMED),
    "number in place of a token": (with_token(lambda *_: 42), P.TOKEN_MISSING),
    "no ID token": (with_answer(lambda answer: {"access_token": answer["access_token"]}), P.TOKEN_MISSING),
    "list in place of an answer": (with_answer(lambda _: []), P.TOKEN_MISSING),
    "code that is refused": (with_answer(lambda _: Response("{}", 400)), P.CODE_REFUSED),
    "redirect in place of an answer": (
        with_answer(lambda _: Response("", 302, headers={"location": "http://127.0.0.1:1/"})),
        P.CODE_REFUSED,
    ),
    "failure": (with_answer(lambda _: Response("", 500)), P.PROVIDER_AWAY),
    "endless answer": (with_answer(lambda _: Response("x" * 1_000_000)), P.PROVIDER_UNUSABLE),
}


@pytest.mark.parametrize("case", TOKENS)
async def test_hostile_token_signs_nobody_in(stage: Stage, case: str) -> None:
    """Whatever is wrong with it, and by its reason."""
    lie, problem = TOKENS[case]
    lie(stage.provider)
    assert await failing(stage.signed_in()) is problem


def changing(**changes: str | None) -> Callable[[list[tuple[str, str]]], list[tuple[str, str]]]:
    """Return a lie about the address by which the browser comes back; None leaves a parameter out."""

    def change(answer: list[tuple[str, str]]) -> list[tuple[str, str]]:
        told: dict[str, str | None] = {**dict(answer), **changes}
        return [(name, value) for name, value in told.items() if value is not None]

    return change


ANSWERS: dict[str, tuple[Callable[[list[tuple[str, str]]], list[tuple[str, str]]], Problem]] = {
    "another state": (changing(state="other"), P.STATE_OTHER),
    "state in other letters": (changing(state="é"), P.STATE_OTHER),
    "no state": (changing(state=None), P.STATE_OTHER),
    "nothing": (lambda _: [], P.STATE_OTHER),
    "another provider": (changing(iss="https://evil.example"), P.ANSWER_ISSUER_OTHER),
    "no provider": (changing(iss=None), P.ANSWER_ISSUER_OTHER),
    "no code": (changing(code=None), P.ANSWER_MALFORMED),
    "empty code": (changing(code=""), P.ANSWER_MALFORMED),
    "two codes": (lambda answer: [*answer, ("code", "other")], P.ANSWER_MALFORMED),
    "two states": (lambda answer: [*answer, ("state", "other")], P.ANSWER_MALFORMED),
    "endless code": (changing(code="x" * 100_000), P.ANSWER_MALFORMED),
    "another's code": (changing(code="other"), P.CODE_REFUSED),
    "error": (changing(code=None, error="access_denied", error_description="<b>"), P.PROVIDER_REFUSED),
    "error beside a code": (changing(error="access_denied"), P.PROVIDER_REFUSED),
}


@pytest.mark.parametrize("case", ANSWERS)
async def test_hostile_answer_signs_nobody_in_and_ends_the_sign_in(stage: Stage, case: str) -> None:
    """The right answer comes too late behind it."""
    lie, problem = ANSWERS[case]
    token, answer = await stage.begun()
    assert await failing(stage.client.complete(token, lie(answer), origin=ORIGIN)) is problem
    assert await failing(stage.client.complete(token, answer, origin=ORIGIN)) is P.SIGN_IN_EXPIRED


async def test_right_answer_signs_a_person_in(stage: Stage) -> None:
    """By a name that no local user can have, with the groups of the claim."""
    person, target = await stage.signed_in()

    assert target == "/t/casino"
    assert (person.name, person.groups, person.shown) == (
        "oidc:ada",
        ("payment-operators",),
        "Ada Lovelace",
    )
    assert (person.subject, stage.provider.sessions[person.session]) == ("ada", "ada")
    assert is_name(person.name)


async def test_answer_counts_once_and_in_the_browser_that_asked(stage: Stage) -> None:
    """Not twice, not without the cookie, not with another browser's, and not for another sign-in."""
    complete = stage.client.complete
    token, answer = await stage.begun()
    await complete(token, answer, origin=ORIGIN)
    assert await failing(complete(token, answer, origin=ORIGIN)) is P.SIGN_IN_EXPIRED

    token, answer = await stage.begun()
    others, _ = await stage.begun()
    for cookie in ("", "planted", "é" * 43):
        assert await failing(complete(cookie, answer, origin=ORIGIN)) is P.SIGN_IN_EXPIRED
    assert await failing(complete(others, answer, origin=ORIGIN)) is P.STATE_OTHER
    await complete(token, answer, origin=ORIGIN)

    # The code of one sign-in under the state of another: the provider asks for its verifier.
    _, stolen = await stage.begun()
    token, answer = await stage.begun()
    injected = changing(code=dict(stolen)["code"])(answer)
    assert await failing(complete(token, injected, origin=ORIGIN)) is P.CODE_REFUSED


async def test_code_of_another_provider_is_sent_to_nobody(stage: Stage) -> None:
    """An answer that is another's is refused before its code is shown to anyone."""
    async with providing(**PEOPLE) as other:
        other.redirects.add(ORIGIN + CALLBACK)
        token, address = await stage.client.begin("/", origin=ORIGIN)
        answer = other.answer_to(address, "ada")
        assert await failing(stage.client.complete(token, answer, origin=ORIGIN)) is P.ANSWER_ISSUER_OTHER
    assert "/token" not in stage.provider.asked


async def test_sign_in_that_takes_too_long_has_to_be_begun_again(stage: Stage) -> None:
    """After ten minutes."""
    token, answer = await stage.begun()
    stage.clock.passed += LIFE_SECONDS
    assert await failing(stage.client.complete(token, answer, origin=ORIGIN)) is P.SIGN_IN_EXPIRED


def test_sign_ins_on_their_way_are_bounded() -> None:
    """Whoever begins ever more pushes out the oldest."""
    pending = PendingSignIns(lambda: 0.0)
    first, _ = pending.begin("/")
    for _ in range(3_000):
        pending.begin("/")
    assert len(pending) <= 2_000
    assert pending.take(first) is None


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
async def test_every_algorithm_that_counts_is_taken(stage: Stage, algorithm: str) -> None:
    """Each with its kind of key, and an access token's hash of its length where there is one."""
    kind = ALGORITHMS[algorithm]
    if kind == "RSA":
        stage.provider.key = RSAKey.generate_key(2_048, {"kid": "rsa"})
    else:
        stage.provider.key = stage.provider.key.generate_key(kind, {"kid": "ec"})  # type: ignore[arg-type]
    stage.provider.lies.claims = lambda claims: claims.pop("at_hash")
    stage.provider.lies.token = lambda p, claims: p.signed(claims, alg=algorithm)
    assert (await stage.signed_in())[0].name == "oidc:ada"


@pytest.mark.parametrize(
    ("says", "counts"),
    [
        ({}, True),
        ({"use": "sig", "alg": "PS256"}, True),
        ({"use": "sig", "alg": "RS256"}, False),
        ({"use": "enc"}, False),
        ({"use": "sig", "alg": 7}, False),
    ],
)
async def test_key_counts_for_what_it_is_for_alone(stage: Stage, says: dict[str, Any], counts: bool) -> None:
    """A key for encryption, or for another algorithm, signs nobody in."""
    stage.provider.key = RSAKey.generate_key(2_048, {"kid": "rsa"})
    stage.provider.key_says = says
    stage.provider.lies.token = lambda p, claims: p.signed(claims, alg="PS256")
    if counts:
        assert (await stage.signed_in())[0].name == "oidc:ada"
    else:
        assert await failing(stage.signed_in()) is P.TOKEN_KEY_UNKNOWN


@pytest.mark.filterwarnings("ignore")  # joserfc warns of the key too
async def test_key_that_is_too_short_counts_as_none(stage: Stage) -> None:
    """Of 1,024 bits, say."""
    stage.provider.key = RSAKey.generate_key(1_024, {"kid": "rsa"}, auto_kid=False)
    assert await failing(stage.signed_in()) is P.TOKEN_KEY_UNKNOWN


async def test_new_key_is_fetched_once_it_is_met_and_not_for_each_unknown_one(stage: Stage) -> None:
    """A provider replaces its keys whenever it likes; an unknown id is no way to have it asked for ever."""
    await stage.signed_in()
    stage.provider.key = new_key("two")
    stage.clock.passed += 60
    await stage.signed_in()
    fetched = stage.provider.asked.count("/keys")
    assert fetched == 2
    stage.provider.lies.token = lambda p, claims: by_another_key(p, claims, "three")
    for _ in range(5):
        assert await failing(stage.signed_in()) is P.TOKEN_KEY_UNKNOWN
    assert stage.provider.asked.count("/keys") == fetched


METADATA: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another issuer": lambda found: {**found, "issuer": "https://evil.example"},
    "no issuer": lambda found: {**found, "issuer": None},
    "no PKCE": lambda found: {**found, "code_challenge_methods_supported": ["plain"]},
    "no token endpoint": lambda found: {**found, "token_endpoint": ""},
    "endpoint of another scheme": lambda found: {**found, "authorization_endpoint": "javascript:alert(1)"},
    "endpoint without a host": lambda found: {**found, "jwks_uri": "https:///keys"},
    "endpoint with a line end": lambda found: {**found, "end_session_endpoint": "https://x/\r\ny"},
    "number": lambda found: {**found, "token_endpoint": 1},
    "list": lambda _: [],
    "very much": lambda found: {**found, "more": "x" * 1_000_000},
}


@pytest.mark.parametrize("case", METADATA)
async def test_provider_that_says_wrong_things_of_itself_is_not_used(stage: Stage, case: str) -> None:
    """Nobody is sent to it."""
    stage.provider.lies.metadata = METADATA[case]
    assert await failing(stage.signed_in()) is P.PROVIDER_UNUSABLE


@pytest.mark.parametrize(
    ("status", "problem"),
    [(302, P.PROVIDER_UNUSABLE), (404, P.PROVIDER_UNUSABLE), (500, P.PROVIDER_AWAY), (503, P.PROVIDER_AWAY)],
)
async def test_provider_that_does_not_answer_is_asked_again_later(
    stage: Stage, status: int, problem: Problem
) -> None:
    """And signs people in once it does; meanwhile nobody waits for it in a row."""
    stage.provider.lies.status = status
    assert await failing(stage.signed_in()) is problem
    assert await failing(stage.signed_in()) is problem
    assert len(stage.provider.asked) == (1 if problem is P.PROVIDER_AWAY else 2)
    stage.provider.lies.status = 200
    stage.clock.passed += 5
    assert (await stage.signed_in())[0].name == "oidc:ada"


async def test_end_of_a_session_names_it_to_the_provider(stage: Stage) -> None:
    """By its token, unless that was too long to be kept; a provider that is away says nothing."""
    person, _ = await stage.signed_in()
    address = await stage.client.end_address(person, origin=ORIGIN)
    assert address.startswith(f"{stage.provider.issuer}/end?client_id={CLIENT}&")
    assert f"id_token_hint={person.id_token}" in address
    stage.provider.lies.claims = lambda claims: claims.update(more="x" * 5_000)
    person, _ = await stage.signed_in()
    assert "id_token_hint" not in await stage.client.end_address(person, origin=ORIGIN)
    stage.provider.lies.status = 500
    stage.clock.passed += 3_600
    assert await failing(stage.client.end_address(person, origin=ORIGIN)) is P.PROVIDER_AWAY


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"iss": "https://evil.example"}, P.TOKEN_ISSUER_OTHER),
        ({"aud": "other"}, P.TOKEN_AUDIENCE_OTHER),
        ({"aud": None}, P.TOKEN_AUDIENCE_OTHER),
        ({"exp": NOW - 3_600}, P.TOKEN_EXPIRED),
        ({"iat": None}, P.TOKEN_EXPIRED),
        ({"iat": NOW - 3_600, "exp": None}, P.TOKEN_EXPIRED),
        ({"iat": NOW + 3_600, "exp": None}, P.TOKEN_EXPIRED),
        ({"iat": float("nan")}, P.TOKEN_MALFORMED),
        ({"jti": None}, P.TOKEN_CLAIM_INVALID),
        ({"jti": 1}, P.TOKEN_CLAIM_INVALID),
        ({"events": None}, P.NOT_A_LOGOUT),
        ({"events": {"other": {}}}, P.NOT_A_LOGOUT),
        ({"events": {EVENT: None}}, P.NOT_A_LOGOUT),
        ({"events": [EVENT]}, P.NOT_A_LOGOUT),
        ({"nonce": "x"}, P.NOT_A_LOGOUT),
        ({"sub": None}, P.NOT_A_LOGOUT),
        ({"sid": 1}, P.NOT_A_LOGOUT),
        ({"sub": ["ada"]}, P.TOKEN_CLAIM_INVALID),
    ],
)
async def test_hostile_logout_token_signs_nobody_out(
    stage: Stage, changes: dict[str, Any], problem: Problem
) -> None:
    """Nor does an ID token, which browsers have seen."""
    token = stage.provider.logout_token(**{"sub": "ada", **changes})
    found = await failing(stage.client.ended(token))
    assert found in {problem, P.SUBJECT_UNUSABLE if problem is P.TOKEN_CLAIM_INVALID else problem}


async def test_logout_token_counts_once_and_is_no_id_token(stage: Stage) -> None:
    """Whoever sends it again ends nothing."""
    token = stage.provider.logout_token(sub="ada", sid="s1")
    assert await stage.client.ended(token) == Logout(
        session="s1", subject="ada", token_id=json.loads(_claims_of(token))["jti"]
    )
    assert await failing(stage.client.ended(token)) is P.LOGOUT_REPLAYED
    person, _ = await stage.signed_in()
    assert await failing(stage.client.ended(person.id_token)) in {P.TOKEN_CLAIM_INVALID, P.NOT_A_LOGOUT}
    forged = Provider(stage.provider.issuer, key=new_key("one")).logout_token(sub="ada")
    assert await failing(stage.client.ended(forged)) is P.TOKEN_SIGNATURE_INVALID
    assert await failing(stage.client.ended("")) is P.TOKEN_MALFORMED


def _claims_of(token: str) -> bytes:
    return base64.urlsafe_b64decode(token.split(".")[1] + "==")


def test_logouts_that_have_counted_are_forgotten_once_they_count_no_more() -> None:
    """As long as they could, they are remembered, and their number is bounded."""
    seen = SeenLogouts()
    for number in range(10_000):
        seen.see(str(number), 0)
    with pytest.raises(SignInFailed):
        seen.see("one more", 0)
    seen.see("one more", 1_000)


@pytest.mark.parametrize(
    ("session", "subject", "left"),
    [
        ("s1", "ada", ["s2", "s3", "local"]),
        ("s1", "", ["", "s2", "s3", "local"]),
        ("", "ada", ["s3", "local"]),
        ("s3", "ada", ["s1", "s2", "s3", "local"]),
        ("s9", "grace", ["", "s1", "s2", "s3", "local"]),
    ],
)
def test_provider_ends_the_sessions_that_it_means(session: str, subject: str, left: list[str]) -> None:
    """One by its id, all of a person without; a session without an id with its person; a local user never."""
    store = Sessions(idle_seconds=60, session_seconds=600, most=10, now=lambda: 0.0)
    tokens = {
        name: store.begin_by_provider(
            ProviderPerson(name=PREFIX + who, groups=(), shown="", subject=who, session=name, id_token="")
        )[0]
        for name, who in (("", "ada"), ("s1", "ada"), ("s2", "ada"), ("s3", "grace"))
    }
    tokens["local"] = store.begin("ada", "")[0]

    ended = store.end_by_provider(Logout(session=session, subject=subject, token_id="x"))

    found = [name for name, token in tokens.items() if store.find(token, is_activity=False)]
    assert sorted(found) == sorted(left)
    assert ended == 5 - len(left)


@pytest.mark.parametrize(
    ("value", "groups"),
    [
        (None, ()),
        ("one", ("one",)),
        (["a", "b", "a"], ("a", "b")),
        (["/operators", "realm:x"], ("/operators", "realm:x")),
        (["a b", "", "ä", 1, None, ["x"], "x" * 129, "fine"], ("fine",)),
        ({"groups": ["x"]}, ()),
        (7, ()),
    ],
)
def test_groups_are_those_that_a_rule_can_name(value: object, groups: tuple[str, ...]) -> None:
    """Nothing else of the claim gives a right."""
    claims = {"sub": "ada", "groups": value}
    assert person_of(claims, NAMES, id_token="").groups == groups


def test_most_groups_fit_into_the_token_of_a_call(tmp_path: Path) -> None:
    """What is taken of the provider the ledger takes too."""
    from console.tokens import Signer  # noqa: PLC0415

    groups = [f"{number:05}" + "x" * 95 for number in range(38)]
    person = person_of({"sub": "a" * 190, "groups": groups}, NAMES, id_token="")
    key = tmp_path / "key"
    key.write_bytes(new_signing_key("console"))
    token = Signer(key, issuer="defter-console", audience="defter").token(person.name, person.groups)
    assert len(token) + len("Bearer ") <= MAX_TOKEN_BYTES


def test_subject_may_be_of_another_claim_and_a_name_proves_nothing() -> None:
    """As the settings say; what is shown may be anything."""
    names = ClaimNames(prefix=PREFIX, subject="preferred_username", groups="roles", shown="name")
    claims = {"sub": "8f3c", "preferred_username": "ada", "roles": ["x"], "name": 7, "sid": 7}
    person = person_of(claims, names, id_token="")
    assert (person.name, person.subject, person.groups, person.shown, person.session) == (
        "oidc:ada",
        "8f3c",
        ("x",),
        "",
        "",
    )


@pytest.mark.parametrize("subject", ["defter-console", "Defter-Console", "token:ada", "TOKEN:root"])
def test_name_that_has_rights_of_its_own_is_nobodys(subject: str) -> None:
    """Without a prefix the provider's names are the ledger's; with it they can be none of these."""
    bare = ClaimNames(prefix="", subject="sub", groups="groups", shown="name")
    with pytest.raises(SignInFailed):
        person_of({"sub": subject}, bare, id_token="")
    assert person_of({"sub": subject}, NAMES, id_token="").name == PREFIX + subject
    assert person_of({"sub": "ada"}, bare, id_token="").name == "ada"


@pytest.mark.parametrize("name", [f"{PREFIX}ada", PREFIX, "oidc:"])
def test_local_user_can_have_no_name_of_the_provider(name: str) -> None:
    """Two people never share a name, so one of them never counts for the other."""
    with pytest.raises(ValueError, match="name"):
        check_name(name)


async def test_client_is_proved_by_a_key_whose_assertions_differ(stage: Stage, tmp_path: Path) -> None:
    """Each counts once at the provider."""
    key = tmp_path / "client.key"
    key.write_bytes(new_signing_key("client"))
    proof = ClientProof(CLIENT, secret_file=None, key_file=key)
    bodies = [
        proof.auth(takes_basic=True).prepare("POST", f"{stage.provider.issuer}/token", {}, "code=x")[2]
        for _ in range(2)
    ]
    assert bodies[0] != bodies[1]
    stage.client._proof = proof
    assert (await stage.signed_in())[0].name == "oidc:ada"


@pytest.mark.parametrize("content", ["", "  \n", "{}", "[]", '{"kty": "oct", "k": "x"}', "key"])
def test_file_that_has_no_secret_is_refused(content: str, tmp_path: Path) -> None:
    """Without telling what is in it."""
    file = tmp_path / "file"
    file.write_text(content)
    with pytest.raises(SecretUnusable) as refused:
        ClientProof(CLIENT, secret_file=None, key_file=file)
    assert "oct" not in str(refused.value)
    if not content.strip():
        with pytest.raises(SecretUnusable):
            ClientProof(CLIENT, secret_file=file, key_file=None)
    with pytest.raises(SecretUnusable):
        ClientProof(CLIENT, secret_file=tmp_path / "none", key_file=None)


GOOD = {
    "oidc_issuer": "https://id.example/realms/house",
    "oidc_client_id": "console",
    "oidc_client_secret_file": "secret",
}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"oidc_issuer": None}, "OIDC_CLIENT_ID: does nothing without"),
        (
            {
                "oidc_issuer": None,
                "oidc_client_id": None,
                "oidc_client_secret_file": None,
                "oidc_scopes": "x",
            },
            "OIDC",
        ),
        ({"oidc_issuer": "http://id.example"}, "needs https"),
        ({"oidc_issuer": "https://id.example?x"}, "pattern"),
        ({"oidc_client_id": None}, "OIDC_CLIENT_ID"),
        ({"oidc_client_secret_file": None}, "OIDC_CLIENT_KEY_FILE"),
        ({"oidc_client_key_file": "key"}, "just one"),
        ({"oidc_scopes": "profile"}, "openid"),
        ({"oidc_groups_claim": "sub"}, "GROUPS_CLAIM"),
        ({"oidc_bare_subject": "true", "users_file": "x"}, "BARE_SUBJECT"),
        ({"oidc_issuer": "http://127.0.0.1:1", "oidc_authority_file": "x"}, "AUTHORITY_FILE"),
    ],
)
def test_setting_of_a_provider_that_would_do_nothing_is_refused(
    changes: dict[str, str | None], named: str
) -> None:
    """By its name; the others are taken."""
    settings = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    with pytest.raises(ValidationError, match=named):
        ConsoleSettings(**settings)  # type: ignore[arg-type]  # pydantic reads them
    assert ConsoleSettings(**GOOD).users is None  # type: ignore[arg-type]
    assert ConsoleSettings(**GOOD, users_file="x").users == Path("x")  # type: ignore[arg-type]
    assert ConsoleSettings().users == USERS_FILE


def test_each_problem_is_told_in_words() -> None:
    """With a status that is no success."""
    assert all(openid.told(problem)[0] >= 400 and openid.told(problem)[1] for problem in Problem)
