"""Own the doors: who is let in, what a session is, and which requests are not taken at all."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from console.commands import app as commands
from console.sessions import Sessions
from console.settings import ConsoleSettings
from console.throttle import Throttle
from console.users import Users, UsersUnusable, add, hashed, matches
from console.views.local_paths import local_path
from tests.console.hostile import ORIGIN, saying_console, visiting
from tests.console.house import House, form_of

PASSWORD = "correct horse battery"


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now


def sessions(clock: Clock, most: int = 3) -> Sessions:
    """Return a store whose sessions end after a minute of silence, or ten."""
    return Sessions(idle_seconds=60, session_seconds=600, most=most, now=clock)


def test_session_ends_by_silence_by_its_age_and_by_signing_out() -> None:
    """What a page fetches by itself keeps no session."""
    clock = Clock()
    store = sessions(clock)
    token, session = store.begin("ada", "hash")
    for clock.now in range(50, 600, 50):
        assert store.find(token, is_activity=True) is session
    clock.now = 600
    assert store.find(token, is_activity=True) is None
    assert session.ended

    token, _ = store.begin("ada", "hash")
    clock.now += 59
    assert store.find(token, is_activity=False) is not None
    clock.now += 1
    assert store.find(token, is_activity=True) is None

    token, _ = store.begin("ada", "hash")
    store.end(token)
    assert store.find(token, is_activity=True) is None
    assert len(store) == 0


def test_the_longest_unused_session_makes_room() -> None:
    """The number is bounded, and who works stays."""
    store = sessions(Clock(), most=2)
    first, second = store.begin("ada", "")[0], store.begin("bob", "")[0]
    store.find(first, is_activity=True)
    third = store.begin("eve", "")[0]
    assert [store.find(token, is_activity=False) is not None for token in (first, second, third)] == [
        True,
        False,
        True,
    ]


def test_passwords_are_kept_as_hashes_in_a_file_of_its_owner(tmp_path: Path) -> None:
    """No password is in it, nobody else may read it, and each hash has a salt of its own."""
    file = tmp_path / "users.toml"
    assert add(file, "ada", PASSWORD, ["payment-operators"])
    assert add(file, "bob", PASSWORD, [])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert PASSWORD not in file.read_text()
    users = Users(file)
    found = users.verified("ada", PASSWORD)
    assert found is not None
    assert found.groups == ("payment-operators",)
    assert found.password != getattr(users.get("bob"), "password", "")
    assert users.verified("ada", PASSWORD + " ") is None
    assert users.verified("nobody", PASSWORD) is None
    assert not add(file, "ada", "another password", [])
    users.refresh()
    assert users.verified("ada", PASSWORD) is None
    assert getattr(users.get("ada"), "groups", None) == ("payment-operators",)


@pytest.mark.parametrize("name", ["", "token:ada", "a b", "ada\n", "аda", "defter-console", "x" * 65, "-x"])
def test_name_that_is_no_persons_is_refused(name: str, tmp_path: Path) -> None:
    """The ledger would not take it, or take it for somebody else."""
    with pytest.raises(ValueError, match="name"):
        add(tmp_path / "users.toml", name, PASSWORD, [])


@pytest.mark.parametrize(
    "text",
    [
        "[[user]]",
        "user = 1",
        "[[user]]\nname='ada'\npassword='plain'",
        "\xff",
        "[[user]]\nname=1\npassword=2",
    ],
)
def test_file_that_has_no_users_is_refused_without_telling_what_is_in_it(text: str, tmp_path: Path) -> None:
    """A password that was typed into it is not repeated."""
    file = tmp_path / "users.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsersUnusable) as refused:
        Users(file)
    assert "plain" not in str(refused.value)


@pytest.mark.parametrize("kept", ["", "scrypt$1$8$1$$", "scrypt$x$8$1$AA==$AA==", "scrypt$32768$8$1$!$!"])
def test_what_is_no_hash_matches_nothing(kept: str) -> None:
    """A file that somebody has edited lets nobody in."""
    assert not matches("", kept)
    assert not matches(PASSWORD, kept)


def test_hash_matches_its_own_password_alone() -> None:
    """Also where it is not ASCII."""
    kept = hashed("şifre çok uzun")
    assert matches("şifre çok uzun", kept)
    assert not matches("sifre cok uzun", kept)


def test_command_makes_a_user_and_tells_a_generated_password_once(tmp_path: Path) -> None:
    """With it the person signs in."""
    file = tmp_path / "users.toml"
    words = ["user", "add", "ada", "--group", "readers", "--generate", "--file", str(file)]
    told = CliRunner().invoke(commands, words)
    assert told.exit_code == 0, told.output
    assert Users(file).verified("ada", told.output.splitlines()[-1]) is not None
    short = CliRunner().invoke(commands, ["user", "add", "bob", "--file", str(file)], input="short\nshort\n")
    assert short.exit_code == 2


async def test_tries_are_bounded_by_name_and_by_address() -> None:
    """Whoever tries one name from everywhere, or every name from one place."""
    throttle = Throttle()
    assert [await throttle.admits(f"10.0.0.{n}", "ada") for n in range(11)] == [True] * 10 + [False]
    assert [await throttle.admits("192.0.2.1", f"name-{n}") for n in range(31)].count(True) <= 30


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/t/casino?x=1", "/t/casino?x=1"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/x\r\nSet-Cookie: a=b", "/"),
        ("", "/"),
    ],
)
def test_signing_in_leads_nowhere_else(text: str, path: str) -> None:
    """The address of the next page is one of the console's."""
    assert local_path(text) == path


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 303),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, 303),
        ({"Origin": ORIGIN}, 303),
        ({}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": ORIGIN}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"}, 403),
    ],
)
async def test_form_from_elsewhere_is_not_taken(headers: dict[str, str], status: int, tmp_path: Path) -> None:
    """Whatever it has of the session."""
    async with visiting(saying_console("x", tmp_path)) as browser:
        csrf = form_of((await browser.get("/t/x")).text, "/sign-out")["csrf"]
        answer = await browser.post("/sign-out", data={"csrf": csrf}, headers=headers)
    assert answer.status_code == status


@pytest.mark.parametrize("form", [{"other": "x"}, {"csrf": ""}, {"csrf": "x" * 43}, {"csrf": "é"}])
async def test_form_without_the_sessions_token_is_not_taken(form: dict[str, str], tmp_path: Path) -> None:
    """No act, no signing out, no preference."""
    async with visiting(saying_console("x", tmp_path), Origin=ORIGIN) as browser:
        for path in (
            "/sign-out",
            "/preferences",
            "/t/x/withdrawals/wd_1/approve",
            "/t/x/findings/fnd_1/repair",
        ):
            assert (await browser.post(path, data=form)).status_code == 403, path


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"csrf=" + b"x" * 70_000, "application/x-www-form-urlencoded", 413),
        (b"{}", "application/json", 415),
        (b"&".join(b"a=1" for _ in range(150)), "application/x-www-form-urlencoded", 400),
        (b"a=%ff", "application/x-www-form-urlencoded", 400),
        ("a=ş".encode(), "application/x-www-form-urlencoded", 400),
    ],
)
async def test_form_out_of_bounds_is_not_read(content: bytes, kind: str, status: int, tmp_path: Path) -> None:
    """It is refused in words, before anything is asked of the ledger."""
    async with visiting(saying_console("x", tmp_path), Origin=ORIGIN) as browser:
        answer = await browser.post("/sign-out", content=content, headers={"Content-Type": kind})
    assert answer.status_code == status


async def test_act_without_a_key_is_not_sent(tmp_path: Path) -> None:
    """A key that is made for a form without one would make two of one."""
    async with visiting(saying_console("x", tmp_path), Origin=ORIGIN) as browser:
        csrf = form_of((await browser.get("/t/x")).text, "/sign-out")["csrf"]
        for key in ("", "mine", "con-" + "0" * 25, "con-" + "é" * 26):
            form = {"csrf": csrf, "key": key, "note": "n"}
            answer = await browser.post("/t/x/withdrawals/wd_1/approve", data=form)
            assert answer.status_code == 400


async def test_every_answer_has_the_headers(tmp_path: Path) -> None:
    """Pages, files, refusals and what is not there."""
    async with visiting(saying_console("x", tmp_path)) as browser:
        for path in ("/", "/sign-in", "/static/console.css", "/nothing", "/t/x/withdrawals.csv", "/health"):
            headers = (await browser.get(path)).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["cache-control"] == ("no-cache" if "static" in path else "no-store"), path
            assert headers["x-request-id"].startswith("con-")
        elsewhere = await browser.get("/sign-in", headers={"Host": "evil.example"})
    assert elsewhere.status_code == 403


async def test_who_has_not_signed_in_sees_nothing(tmp_path: Path) -> None:
    """Every page leads to the form, and from there back; what a page fetches sends the whole page there."""
    async with visiting(saying_console("secret", tmp_path), signed_in=False, Origin=ORIGIN) as browser:
        for path in (
            "/",
            "/t/x",
            "/t/x/withdrawals",
            "/t/x/withdrawals.csv",
            "/t/x/records/dep_1",
            "/t/x/signals",
        ):
            answer = await browser.get(path)
            assert answer.status_code in {204, 303}, path
            assert "secret" not in answer.text
        fetched = await browser.get("/t/x/withdrawals", headers={"HX-Request": "true"})
        acted = await browser.post("/t/x/withdrawals/wd_1/approve", data={})
    assert (fetched.status_code, fetched.headers["hx-redirect"]) == (204, "/sign-in")
    assert (acted.status_code, acted.headers["location"]) == (303, "/sign-in")


async def test_cookie_is_the_hosts_alone_with_tls(tmp_path: Path) -> None:
    """Secure, unreadable by scripts, of this host and no other."""
    console = saying_console("x", tmp_path)
    add(tmp_path / "users.toml", "eve", PASSWORD, [])
    console.origins = ("https://console.example",)
    async with visiting(console, signed_in=False) as browser:
        answer = await browser.post(
            "/sign-in",
            data={"name": "eve", "password": PASSWORD},
            headers={"Host": "console.example", "Origin": "https://console.example"},
        )
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-defter-console=")
    assert all(part in cookie for part in ("HttpOnly", "Secure", "SameSite=lax", "Path=/"))
    assert "Domain" not in cookie
    assert "max-age" in answer.headers["strict-transport-security"]


async def test_signing_in_gives_another_session_and_ends_the_one_before(house: House) -> None:
    """An id that somebody has planted is worth nothing, and neither is the one from before."""
    async with house.browser() as ada:
        ada.http.cookies.set("defter-console", "planted", domain="127.0.0.1")
        await ada.sign_in("ada")
        first = ada.http.cookies["defter-console"]
        assert first != "planted"
        await ada.sign_in("ada")
        second = ada.http.cookies["defter-console"]
        assert second != first
        ada.http.cookies.set("defter-console", first, domain="127.0.0.1")
        assert (await ada.get("/t/casino")).status_code == 303


async def test_user_who_is_gone_or_has_another_password_is_out_at_once(house: House) -> None:
    """The file counts as it stands now; a wrong password and an unknown name are told alike."""
    async with await house.signed_in("rob") as rob:
        assert (await rob.get("/t/casino")).status_code == 200
        add(house.users_file, "rob", "another password", [])
        assert (await rob.get("/t/casino")).status_code == 303
        wrong, unknown = await rob.sign_in("rob"), await rob.sign_in("nobody-here")
    assert (wrong.status_code, unknown.status_code) == (422, 422)
    assert "The name or the password is wrong." in wrong.text
    assert "The name or the password is wrong." in unknown.text


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"host": "0.0.0.0"}, "DEFTER_CONSOLE_HOST"),
        ({"tls_key_file": "x"}, "DEFTER_CONSOLE_TLS_KEY_FILE"),
        ({"signing_key_file": "x"}, "DEFTER_CONSOLE_SIGNING_KEY_FILE"),
        ({"ledger_authority_file": "x"}, "DEFTER_CONSOLE_LEDGER_AUTHORITY_FILE"),
        ({"origin": "http://console.example:80"}, "DEFTER_CONSOLE_ORIGIN"),
        ({"time_zone": "Mars/Base"}, "time zone"),
    ],
)
def test_setting_that_would_be_no_security_is_refused(settings: dict[str, str], named: str) -> None:
    """By its name."""
    with pytest.raises(ValidationError, match=named):
        ConsoleSettings(**settings)  # type: ignore[arg-type]  # pydantic reads them
