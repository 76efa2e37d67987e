"""Own signing in by an identity provider, through the pages and against the ledger that decides."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from console.oidc.client import CALLBACK
from tests.console.house import Browser, House, form_of, open_house
from tests.console.oidc_provider import Claims, Provider, providing, settings_of

PEOPLE: dict[str, Claims] = {
    "ada": {"groups": ["payment-operators"], "name": "Ada <b>Lovelace</b>"},
    "grace": {"groups": ["payment-operators"]},
    "rob": {"groups": ["readers"]},
    "nobody": {"groups": []},
}
LIST = "/t/casino/withdrawals"


@asynccontextmanager
async def house_with_provider(
    database_url: str, folder: Path, **settings: Any
) -> AsyncIterator[tuple[House, Provider]]:
    """Run a ledger, a console, and a provider that signs its people in."""
    async with (
        providing(**PEOPLE) as provider,
        open_house(database_url, folder, **settings_of(provider, folder, **settings)) as house,
    ):
        provider.redirects.add(house.address + CALLBACK)
        yield house, provider


@pytest.fixture
async def placed(database_url: str, tmp_path: Path) -> AsyncIterator[tuple[House, Provider]]:
    """One with local users beside."""
    async with house_with_provider(database_url, tmp_path) as found:
        yield found


async def sign_in(browser: Browser, provider: Provider, subject: str, path: str = "/") -> httpx.Response:
    """Sign somebody in, and return the console's last answer."""
    began = await browser.http.get("/sign-in/provider", params={"next": path})
    assert began.status_code == 303, began.text
    answer = provider.answer_to(began.headers["location"], subject)
    return await browser.http.get(CALLBACK, params=dict(answer))


def signed_in(browser: Browser) -> str:
    """Return the cookie of the session."""
    return browser.http.cookies.get("defter-console") or ""


async def test_people_of_a_provider_decide_by_their_groups(placed: tuple[House, Provider]) -> None:
    """The ledger records the name with its prefix, and two of them are two people."""
    house, provider = placed
    await house.funded()
    await house.cashier.set_policy(second_review_from_minor={"EUR": 400})
    withdrawal = await house.cashier.request(500)
    page = f"{LIST}/{withdrawal.withdrawal_id}"
    async with house.browser() as ada, house.browser() as grace, house.browser() as rob:
        came = await sign_in(ada, provider, "ada", page)
        assert (came.status_code, came.headers["location"]) == (303, page)
        shown = (await ada.get(page)).text
        await ada.post(f"{page}/approve", {**form_of(shown, "/approve"), "note": ""})
        await sign_in(rob, provider, "rob")
        assert "The ledger does not let you decide" in (await rob.get(page)).text
        await sign_in(grace, provider, "grace")
        form = form_of((await grace.get(page)).text, "/approve")
        await grace.post(f"{page}/approve", {**form, "note": ""})
    assert "Ada &lt;b&gt;Lovelace&lt;/b&gt;" in shown
    assert "oidc:ada" in shown
    found = await house.cashier.withdrawal(withdrawal.withdrawal_id)
    assert [each.reviewer for each in found.approvals] == ["oidc:ada", "oidc:grace"]


async def test_local_user_of_the_same_name_is_somebody_else(placed: tuple[House, Provider]) -> None:
    """Whoever is `ada` there is not `ada` here; both ways are open at once."""
    house, provider = placed
    async with house.browser() as ada, await house.signed_in("ada") as local:
        await sign_in(ada, provider, "ada")
        assert "oidc:ada" in (await ada.get("/t/casino")).text
        assert "oidc:ada" not in (await local.get("/t/casino")).text


async def test_person_may_have_the_name_of_the_providers_own_tokens(
    database_url: str, tmp_path: Path
) -> None:
    """So that whoever also calls the ledger with those is no second person there."""
    async with (
        house_with_provider(database_url, tmp_path, oidc_bare_subject=True, users_file=None) as placed,
        placed[0].browser() as ada,
    ):
        house, provider = placed
        await house.funded()
        withdrawal = await house.cashier.request(500)
        page = f"{LIST}/{withdrawal.withdrawal_id}"
        await sign_in(ada, provider, "ada")
        await ada.post(f"{page}/approve", {**form_of((await ada.get(page)).text, "/approve"), "note": ""})
        found = await house.cashier.withdrawal(withdrawal.withdrawal_id)
    assert [each.reviewer for each in found.approvals] == ["ada"]


async def test_page_for_signing_in_offers_what_there_is(database_url: str, tmp_path: Path) -> None:
    """Without a file of users a password is asked of nobody, and none is taken."""
    async with (
        house_with_provider(database_url, tmp_path, users_file=None) as (house, provider),
        house.browser() as somebody,
    ):
        page = (await somebody.get("/sign-in?next=/t/casino")).text
        refused = await somebody.sign_in("ada")
        await sign_in(somebody, provider, "rob")
        assert (await somebody.get("/t/casino")).status_code == 200
    assert 'href="/sign-in/provider?next=/t/casino"' in page.replace("%2F", "/")
    assert 'type="password"' not in page
    assert refused.status_code == 422


async def test_without_a_provider_its_pages_are_not_there(house: House) -> None:
    """Nor does the page for signing in speak of one."""
    async with house.browser() as somebody:
        for path in ("/sign-in/provider", f"{CALLBACK}?code=x&state=y"):
            assert (await somebody.get(path)).status_code == 404
        assert (await somebody.post("/sign-in/provider/logout", {"logout_token": "x"})).status_code == 404
        assert "/sign-in/provider" not in (await somebody.get("/sign-in")).text


async def test_signing_in_gives_a_session_that_nobody_has_planted(placed: tuple[House, Provider]) -> None:
    """An id from before is worth nothing afterwards; the cookie of the sign-in is gone."""
    house, provider = placed
    async with house.browser() as browser:
        browser.http.cookies.set("defter-console", "planted", domain="127.0.0.1")
        began = await browser.http.get("/sign-in/provider")
        cookie = began.headers["set-cookie"]
        assert all(part in cookie for part in ("HttpOnly", "SameSite=lax", "Path=/", "Max-Age=600"))
        answer = provider.answer_to(began.headers["location"], "ada")
        await browser.http.get(CALLBACK, params=dict(answer))
        first = signed_in(browser)
        assert first not in {"", "planted"}
        assert "defter-console-sign-in" not in browser.http.cookies
        again = await browser.http.get(CALLBACK, params=dict(answer))
        assert again.status_code == 400
        await browser.sign_in("rob")
        browser.http.cookies.set("defter-console", first, domain="127.0.0.1")
        assert (await browser.get("/t/casino")).status_code == 303


async def test_answer_in_another_browser_signs_nobody_in(placed: tuple[House, Provider]) -> None:
    """Whoever is given a link with somebody's code is not signed in as them."""
    house, provider = placed
    async with house.browser() as eve, house.browser() as ada:
        began = await eve.http.get("/sign-in/provider")
        answer = provider.answer_to(began.headers["location"], "rob")
        refused = await ada.http.get(CALLBACK, params=dict(answer))
        assert (refused.status_code, signed_in(ada)) == (400, "")
        assert "SIGN_IN_EXPIRED" in refused.text
        assert dict(answer)["code"] not in refused.text
        assert re.search(r"con-[0-9a-f]{16}", refused.text)


@pytest.mark.parametrize(
    "target",
    ["/" + "x" * 10_000, "https://evil.example", "//evil.example", "/\\evil.example", "javascript:x"],
)
async def test_signing_in_leads_nowhere_else(placed: tuple[House, Provider], target: str) -> None:
    """Also by way of the provider."""
    house, provider = placed
    async with house.browser() as browser:
        came = await sign_in(browser, provider, "rob", target)
    assert came.headers["location"] == "/"


async def test_console_of_two_names_is_entered_by_the_one_that_the_provider_knows(
    placed: tuple[House, Provider],
) -> None:
    """Cookies are of a name; so the sign-in is begun under it."""
    house, _ = placed
    port = house.address.rpartition(":")[2]
    async with httpx.AsyncClient(base_url=f"http://localhost:{port}", timeout=60) as http:
        answer = await http.get("/sign-in/provider", params={"next": "/t/casino"})
    assert answer.headers["location"] == f"{house.address}/sign-in/provider?next=%2Ft%2Fcasino"
    assert "set-cookie" not in answer.headers


async def test_provider_that_is_away_is_told_in_words_and_local_users_work(
    placed: tuple[House, Provider],
) -> None:
    """With the id by which the log names it; the address of the provider and its failure stay here."""
    house, provider = placed
    provider.lies.status = 503
    async with house.browser() as browser:
        told = await browser.get("/sign-in/provider")
        turkish = await browser.get("/sign-in/provider", **{"Accept-Language": "tr"})
        local = await browser.sign_in("ada")
    assert (told.status_code, local.status_code) == (503, 303)
    assert unescape("The identity provider can&#39;t be reached.") in unescape(told.text)
    assert "PROVIDER_AWAY" in told.text
    assert told.headers["x-request-id"] in told.text
    assert "Kimlik sağlayıcıya ulaşılamıyor." in turkish.text


async def test_sign_ins_of_one_address_are_bounded(placed: tuple[House, Provider]) -> None:
    """Whoever begins ever more would push out those of others."""
    house, _ = placed
    async with house.browser() as browser:
        statuses = [(await browser.http.get("/sign-in/provider")).status_code for _ in range(70)]
        told = await browser.get("/sign-in/provider")
    assert 30 <= statuses.count(303) <= 60
    assert (told.status_code, statuses[-1]) == (429, 429)
    assert "Too many tries." in told.text


async def test_signing_out_ends_both_sessions(placed: tuple[House, Provider]) -> None:
    """Here at once; there by the browser, which the page sends on without a redirect of the form."""
    house, provider = placed
    async with house.browser() as ada:
        await sign_in(ada, provider, "ada")
        csrf = form_of((await ada.get("/t/casino")).text, "/sign-out")["csrf"]
        kept = signed_in(ada)
        page = await ada.post("/sign-out", {"csrf": csrf})
        found = re.search(r'http-equiv="refresh" content="0; url=([^"]*)"', page.text)
        assert found is not None
        address = unescape(found[1])
        asked = parse_qs(urlsplit(address).query)
        assert asked["post_logout_redirect_uri"] == [f"{house.address}/sign-in"]
        ada.http.cookies.set("defter-console", kept, domain="127.0.0.1")
        assert (await ada.get("/t/casino")).status_code == 303
        assert len(provider.sessions) == 1
        back = await ada.http.get(address)
    assert provider.sessions == {}
    assert back.headers["location"] == f"{house.address}/sign-in"


async def test_signing_out_is_told_truly_where_the_provider_has_no_place_for_it(
    placed: tuple[House, Provider],
) -> None:
    """The session here has ended all the same."""
    house, provider = placed
    provider.lies.metadata = lambda found: {**found, "end_session_endpoint": None}
    async with house.browser() as ada:
        await sign_in(ada, provider, "ada")
        csrf = form_of((await ada.get("/t/casino")).text, "/sign-out")["csrf"]
        page = await ada.post("/sign-out", {"csrf": csrf})
        assert "At the identity provider you may still be signed in" in page.text
        assert "http-equiv" not in page.text
        assert (await ada.get("/t/casino")).status_code == 303


async def test_provider_ends_sessions_by_itself(placed: tuple[House, Provider]) -> None:
    """One by its id, all of a person by their subject; what proves nothing ends none."""
    house, provider = placed
    async with house.browser() as desk, house.browser() as phone, house.browser() as grace:
        for browser, subject in ((desk, "ada"), (phone, "ada"), (grace, "grace")):
            await sign_in(browser, provider, subject)
        first, *_ = provider.sessions

        async def open_ones() -> list[bool]:
            return [(await each.get("/t/casino")).status_code == 200 for each in (desk, phone, grace)]

        refused = await provider.tell_logout(house.address, sub="ada", nonce="x")
        assert (refused.status_code, refused.json()) == (400, {"error": "invalid_request"})
        assert await open_ones() == [True, True, True]
        told = await provider.tell_logout(house.address, sid=first)
        assert (told.status_code, told.headers["cache-control"]) == (200, "no-store")
        assert await open_ones() == [False, True, True]
        assert (await provider.tell_logout(house.address, sub="ada")).status_code == 200
        assert await open_ones() == [False, False, True]
        assert (await provider.tell_logout(house.address, sub="unknown")).status_code == 200


async def test_page_of_the_provider_is_open_to_no_other_form(placed: tuple[House, Provider]) -> None:
    """Only that one path takes a form that comes from no page; and a browser's page can't use it either."""
    house, _ = placed
    async with httpx.AsyncClient(base_url=house.address, timeout=60) as http:
        for path in ("/sign-in", "/sign-out", "/sign-in/provider/logout/", "/SIGN-IN/provider/logout"):
            assert (await http.post(path, data={"logout_token": "x"})).status_code in {403, 404, 405}, path
        answer = await http.post("/sign-in/provider/logout", data={"logout_token": "x"})
        large = await http.post("/sign-in/provider/logout", data={"logout_token": "x" * 100_000})
        other = await http.post("/sign-in/provider/logout", headers={"host": "evil.example"}, data={"a": "b"})
    assert (answer.status_code, large.status_code, other.status_code) == (400, 413, 403)


async def test_session_lasts_no_longer_than_the_setting_says(database_url: str, tmp_path: Path) -> None:
    """However long the provider's own lasts: groups count for so long at most."""
    async with (
        house_with_provider(database_url, tmp_path, session_seconds=0.001) as (house, provider),
        house.browser() as ada,
    ):
        await sign_in(ada, provider, "ada")
        assert (await ada.get("/t/casino")).headers["location"].startswith("/sign-in")


async def test_nothing_of_a_token_is_told_anywhere(
    placed: tuple[House, Provider], capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Not in lines of the log, not on pages, not in cookies."""
    house, provider = placed
    told: list[str] = []
    secrets: list[str] = []
    real = provider.lies.answer

    def keep(answer: dict[str, Any]) -> Any:
        secrets.extend(str(answer[name]) for name in ("id_token", "access_token"))
        return real(answer)

    provider.lies.answer = keep
    async with house.browser() as ada:
        told.append((await sign_in(ada, provider, "ada")).text)
        told.append((await ada.get("/t/casino")).text)
        told.extend(ada.http.cookies.values())
    provider.lies.claims = lambda claims: claims.update(nonce="other")
    async with house.browser() as ada:
        told.append((await sign_in(ada, provider, "ada")).text)
    captured = capfd.readouterr()
    told += [captured.out, captured.err, caplog.text]
    assert len(secrets) == 4
    assert [secret for secret in secrets if any(secret in text for text in told)] == []
    assert "signed in" in captured.out
    assert "TOKEN_NONCE_OTHER" in captured.out
