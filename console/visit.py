"""Owns one request of a person: who it is, in which language, and the page that answers it."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from babel import Locale
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from console import refusals, words
from console.catalogue import LANGUAGES, N_, Language, texts
from console.formats import Formats, iso
from console.forms import form_key
from console.ledger import Gateway, KnownCurrencies, PersonsLedger
from console.live import Live
from console.navigation import GROUPS
from console.oidc.client import BEGIN, CALLBACK, OidcClient
from console.outside import code, outside, raw, visible
from console.player_accounts import WALLETS
from console.sessions import Session, Sessions
from console.settings import ConsoleSettings
from console.throttle import Throttle
from console.uploads import Received, Uploads
from console.users import User, Users
from console.verifying import Checks
from defter_client import messages as m

FOLDER: Final = Path(__file__).parent
THEMES: Final = ("auto", "light", "dark")
LANGUAGE_COOKIE: Final = "defter-language"
THEME_COOKIE: Final = "defter-theme"


@dataclass(kw_only=True)
class Console:
    """What all requests of this process share."""

    settings: ConsoleSettings
    gateway: Gateway
    users: Users
    sessions: Sessions
    live: Live
    checks: Checks
    oidc: OidcClient | None = None
    """Signs people in by a provider; None: there is none."""
    currencies: KnownCurrencies = field(default_factory=KnownCurrencies)
    throttle: Throttle = field(default_factory=Throttle)
    uploads: Uploads = field(default_factory=lambda: Uploads(time.monotonic))
    origins: tuple[str, ...] = ()

    @property
    def is_secure(self) -> bool:
        """Whether people reach it by TLS alone."""
        return all(origin.startswith("https:") for origin in self.origins)

    @property
    def cookie(self) -> str:
        """The name of the session's cookie; with TLS one that no other host can set."""
        return "__Host-defter-console" if self.is_secure else "defter-console"

    @property
    def zone(self) -> ZoneInfo:
        """The zone of all times on pages."""
        return ZoneInfo(self.settings.time_zone)


@dataclass(kw_only=True)
class Visit:
    """One request."""

    console: Console
    request: Request
    request_id: str
    language: Language
    theme: str
    session: Session | None = None
    user: User | None = None
    received: Received | None = None
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def ledger(self) -> PersonsLedger:
        """The ledger as the person sees it."""
        assert self.session is not None
        assert self.user is not None
        return PersonsLedger(
            self.console.gateway,
            person=self.user.name,
            groups=self.user.groups,
            session=self.session,
            request_id=self.request_id,
        )

    @property
    def shown_name(self) -> str:
        """How the person is called, for eyes alone; the ledger records the user's name."""
        known = None if self.session is None else self.session.provider_person
        return "" if known is None else known.shown

    @property
    def tenant_id(self) -> str:
        """The tenant in the path; empty where there is none."""
        return str(self.request.path_params.get("tenant", ""))

    @property
    def query(self) -> dict[str, str]:
        """What the address asks for behind `?`."""
        return dict(self.request.query_params)

    def say(self, text: str) -> str:
        """Return a text in the page's language."""
        return texts(self.language).gettext(text)

    def note(self, word: str, *, kind: str = "done") -> None:
        """Have the next page say something once."""
        assert self.session is not None
        self.session.notes.append((kind, word))

    async def formats(self) -> Formats:
        """Return how this person reads amounts and times.

        Raises:
            LedgerError: the ledger could not be reached.
        """
        currencies = await self.console.currencies.of(self.ledger)
        return Formats(self.language, self.console.zone, currencies, self.now)

    async def page(self, template: str, status: int = 200, **context: Any) -> Response:
        """Return a page."""
        currencies = None
        if self.session is not None and self.tenant_id and status < 500:  # the ledger may be away
            currencies = await self.console.currencies.of(self.ledger)
        formats = Formats(self.language, self.console.zone, currencies, self.now)
        notes = []
        if self.session is not None and "hx-request" not in self.request.headers:
            notes = [(kind, self.say(words.NOTES[word])) for kind, word in self.session.notes]
            self.session.notes.clear()
        html = (
            environment(self.language)
            .get_template(template)
            .render(visit=self, fmt=formats, notes=notes, tenant=self.tenant_id, **context)
        )
        return HTMLResponse(html, status)

    def redirect(self, path: str) -> Response:
        """Return an answer that leads to another page, so that a reload sends no form again."""
        return RedirectResponse(path, 303)

    def path(self, *parts: str, **query: str) -> str:
        """Return a path below the tenant's."""
        found = "/".join(["/t", *(quote(part, safe="") for part in (self.tenant_id, *parts))])
        asked = {name: value for name, value in query.items() if value}
        return f"{found}?{urlencode(asked)}" if asked else found

    def here(self, **changes: str) -> str:
        """Return the address of this page with other things asked for."""
        if self.request.url.path == CALLBACK:
            return "/sign-in"  # the provider's answer has counted, and is repeated nowhere
        asked = {name: value for name, value in {**self.query, **changes}.items() if value}
        return f"{self.request.url.path}?{urlencode(asked)}" if asked else self.request.url.path


@cache
def environment(language: Language) -> Environment:
    """Return the templates in a language: nothing is taken for markup that is not of a template."""
    made = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found = texts(language)
    made.install_gettext_translations(found, newstyle=True)  # type: ignore[attr-defined]  # of the extension
    more = found.gettext(N_("show all"))

    def outside_text(text: str) -> Markup:
        return outside(text, more)

    made.filters.update(outside=outside_text, outside_plain=visible, code=code, raw=raw, iso=iso)
    made.globals.update(
        language=language,
        languages=LANGUAGES,
        direction=Locale.parse(language).text_direction,
        themes=THEMES,
        words=words,
        refusals=refusals,
        groups=GROUPS,
        wallets=WALLETS,
        form_key=form_key,
        begin_by_provider=BEGIN,
        m=m,
    )
    return made
