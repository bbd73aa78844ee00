"""A browser without a window: cookies, links, forms, and what a page says."""

from __future__ import annotations

from collections.abc import Mapping
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode

from attrs import define, field
from twisted.internet import reactor as the_reactor

from mailrelay.testing.loopback import PASSWORD, USER, Loopback
from tests.integration.webapi.api import API, BOUNDARY, FORM, Answered, APICase, Part, multipart
from tests.integration.world import start_world


@define
class Page(HTMLParser):
    """A page as it was answered: its text, links, and the hidden fields of its forms."""

    answered: Answered
    text: str = ""
    links: list[str] = field(factory=list)
    hidden: dict[str, str] = field(factory=dict)
    tags: list[tuple[str, dict[str, str | None]]] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        super().__init__()
        self.feed(self.answered.body.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See HTMLParser."""
        given = dict(attrs)
        self.tags.append((tag, given))
        if tag == "a":
            self.links.append(given.get("href") or "")
        if tag == "input" and given.get("type") == "hidden":
            self.hidden[given["name"] or ""] = given.get("value") or ""

    def handle_data(self, data: str) -> None:
        """See HTMLParser."""
        self.text += data

    @property
    def status(self) -> int:
        """Of the answer."""
        return self.answered.status


@define
class Browser:
    """Somebody who looks at pages of one server."""

    server: Loopback
    cookies: dict[str, str] = field(factory=dict)

    async def ask(
        self,
        method: str,
        path: str,
        form: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answered:
        """One request; redirects are not followed."""
        sent = {"Cookie": "; ".join(f"{n}={v}" for n, v in self.cookies.items())}
        body = None
        if form is not None:
            body = urlencode(form, doseq=True).encode()
            sent |= {"Content-Type": FORM, "Sec-Fetch-Site": "same-origin"}
        answered = await API(self.server).ask(method, path, body, {**sent, **(headers or {})})
        for name, morsel in SimpleCookie(answered.headers.get("set-cookie", "")).items():
            self.cookies.pop(name, None)
            if morsel.value:
                self.cookies[name] = morsel.value
        return answered

    async def open(self, path: str) -> Page:
        """A page that must be there."""
        answered = await self.ask("GET", path)
        assert answered.status == 200, (path, answered)
        return Page(answered)

    async def send(self, path: str, page: Page, **fields: Any) -> Answered:
        """A form of ``page``."""
        return await self.ask("POST", path, {**page.hidden, **fields})

    async def upload(self, path: str, page: Page, *parts: Part) -> Answered:
        """A form of ``page`` with files."""
        hidden = [Part(name, value.encode()) for name, value in page.hidden.items()]
        headers = {"Cookie": "; ".join(f"{n}={v}" for n, v in self.cookies.items())}
        headers |= {
            "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
            "Sec-Fetch-Site": "same-origin",
        }
        body = multipart([*hidden, *parts])
        return await API(self.server).ask("POST", path, body, headers)

    async def log_in(self, login: str = USER, password: str = PASSWORD) -> Answered:
        """At the page for it."""
        form = {"login": login, "password": password}
        return await self.ask("POST", "/login", form)


class BrowserCase(APICase):
    """A test with a server of its own, and somebody who looks at it."""

    async def browser(self, **settings: Any) -> Browser:
        """Start the server; nobody is logged in."""
        settings = {"localserve": True, **settings}
        return Browser(await start_world(self, the_reactor, **settings))

    async def logged_in(self, **settings: Any) -> Browser:
        """Start the server, and log in."""
        browser = await self.browser(**settings)
        answered = await browser.log_in()
        self.assertEqual(answered.status, 303, answered)
        return browser

    async def admin(self, **settings: Any) -> Browser:
        """Start the server, and log in as the administrator."""
        browser = await self.browser(**settings)
        answered = await browser.ask("POST", "/admin/login", {"password": "admin password"})
        self.assertEqual(answered.status, 303, answered)
        return browser
