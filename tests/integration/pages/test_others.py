"""What is one account's is nobody else's, on every page and in every form that there is.

A page that is added is walked when another leads to it; one that is not walked fails the test.
"""

from __future__ import annotations

import re
import smtplib
from collections.abc import Iterator, Mapping
from urllib.parse import urljoin, urlsplit

from attrs import define, field, frozen
from twisted.internet import reactor as the_reactor
from twisted.internet.threads import deferToThread

from mailrelay.pages.render import STATIC
from mailrelay.testing.loopback import PASSWORD, USER
from mailrelay.web.request import Route
from tests.browser.filling import Words, full_letter, kept
from tests.browser.localserve import Person
from tests.browser.walk import kind_of
from tests.integration.pages.browser import Browser, BrowserCase, Page
from tests.integration.webapi.api import API, Answered
from tests.integration.world import OTHER_PASSWORD, settled, soon

SECRET = "5be9 is nobody else's"
WORDS = Words(SECRET, f"<p>{SECRET}</p>", SECRET, "5be9.pdf", "5be9")
OWNER = Person("user", PASSWORD, "example.org")
NOT_WALKED = {
    *("/mail/arrivals", "/login", "/login/code", "/logout"),
    *("/webhooks/{id}/enable", "/settings/second-factor/off", "/templates/html"),
}
"""A stream without an end, the doors, forms of what is disabled, or switched on, and a preview."""
ANEW = re.compile(
    r'<time.*?</time>|value="[0-9a-f]{64}"|name="once" value="[0-9.]+"|\d{4}-\d\d-\d\dT\d\d:\d\d'
)
STARTS = ("/?q=nobody", "/sent?recipient=x-temperror@localhost", "/")
"""The message that has everything, and the one that waits, come before others of their kind."""


@frozen
class Form:
    """One button's worth of a form."""

    path: str
    fields: Mapping[str, str]


@define
class Walk:
    """Pages by path, and what can be sent from them, of whoever is logged in."""

    browser: Browser
    pages: dict[str, Answered] = field(factory=dict)
    forms: list[Form] = field(factory=list)

    async def go(self, *starts: str) -> None:
        """Follow all links, to one page of each kind."""
        waiting, kinds = [*starts], set()
        while waiting:
            path = waiting.pop(0)
            if kind_of(path) in kinds or path.partition("?")[0] in NOT_WALKED:
                continue
            kinds.add(kind_of(path))
            answered = await self.browser.ask("GET", path)
            assert answered.status in (200, 303), (path, answered)
            self.pages[path] = answered
            is_page = "text/html" in answered.headers.get("content-type", "")
            if answered.status == 303:
                waiting.append(answered.headers["location"])
            elif is_page and b"<main" in answered.body:
                waiting += leads(path, Page(answered))
                self.forms += forms(path, Page(answered))

    def reached(self, route: Route) -> bool:
        """Whether a page, or a form, is of ``route``."""
        pattern = re.compile(re.sub(r"\{\w+\}", "[^/]+", route.path))
        paths = [one.path for one in self.forms] if "POST" in route.methods else [*self.pages]
        return any(pattern.fullmatch(path.partition("?")[0]) for path in paths)


def leads(path: str, page: Page) -> Iterator[str]:
    """Where a page leads within the server."""
    for tag, given in page.tags:
        target = given.get({"a": "href", "iframe": "src", "img": "src"}.get(tag, ""))
        whole = urlsplit(urljoin(path, target or "#"))
        if whole.path.startswith(STATIC):
            continue
        if target and not whole.scheme and not whole.netloc:
            yield whole.path + (f"?{whole.query}" if whole.query else "")


def forms(path: str, page: Page) -> Iterator[Form]:
    """What each button of the page's forms sends: what is typed in there, and all that is named."""
    action, fields, buttons = None, dict[str, str](), list[tuple[str, str, str]]()

    def ended() -> Iterator[Form]:
        for name, value, there in buttons or [("", "", "")]:
            if action is not None:
                yield Form(there or action, {**fields, **({name: value} if name else {})})

    for tag, given in [*page.tags, ("form", {})]:
        name, value = given.get("name") or "", given.get("value") or ""
        if tag == "form":
            yield from ended()
            is_post = (given.get("method") or "").lower() == "post"
            action = urljoin(path, given.get("action") or "") if is_post else None
            fields, buttons = {}, []
        elif tag == "button":
            buttons.append((name, value, given.get("formaction") or ""))
        elif name and tag in ("input", "select", "textarea"):
            fields.setdefault(name, value)


def said(walk: Walk) -> dict[str, str]:
    """What the pages say, without what is another each time."""
    return {
        path: re.sub(ANEW, "", one.body.decode(errors="replace"))
        for path, one in walk.pages.items()
    }


class OthersTests(BrowserCase):
    """Two accounts of one server."""

    async def walked(self) -> Walk:
        """All that the owner sees, who has something of everything."""
        browser = await self.logged_in()
        await Browser(browser.server).log_in()  # elsewhere, too
        port = browser.server.port("mx")

        def deliver() -> None:
            with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
                client.send_message(full_letter(WORDS), "a@example.net", [USER])

        await deferToThread(deliver)
        api = API(browser.server)
        await self.arrived(api)
        for to in ("x-temperror@localhost", "x-permerror@localhost"):
            await api.send(To=[{"Address": to}], Subject=SECRET)
        control = browser.server.control()
        self.addCleanup(control.close)
        settled(kept(control, OWNER, WORDS))
        for path, text in (("/aliases", "team-user"), ("/suppressions", "permerror")):
            while text not in (await browser.open(path)).text:
                await soon(the_reactor)
        walk = Walk(browser)
        await walk.go(*STARTS)
        return walk

    def routes(self, browser: Browser) -> list[Route]:
        """All pages."""
        return [one for one in browser.server.server._sites._pages if "/static/" not in one.path]

    async def test_nothing_is_anothers(self) -> None:
        """Another account finds nothing of it, and changes nothing."""
        walk = await self.walked()
        unreached = [
            f"{one.methods[0]} {one.path}"
            for one in self.routes(walk.browser)
            if not one.path.startswith("/admin") and one.path not in NOT_WALKED
            if not walk.reached(one)
        ]
        self.assertEqual(unreached, [], "no page of an account that has everything leads there")
        other = Browser(walk.browser.server)
        await other.log_in("other@example.org", OTHER_PASSWORD)
        for path in walk.pages:
            answered = await other.ask("GET", path)
            is_named = re.search(r"/\d", path)
            self.assertIn(answered.status, (404,) if is_named else (200, 303, 404), path)
            if "5be9" not in path:
                self.assertNotIn(b"5be9", answered.body, path)
        again = Walk(walk.browser)
        await again.go(*STARTS)
        before = said(again)
        token = (await other.open("/write")).hidden["form_token"]
        for form in walk.forms:
            fields = {**form.fields, "form_token": token}
            if form.path != "/logout":
                answered = await other.ask("POST", form.path, fields)
                self.assertLess(answered.status, 500, form)
                if "5be9" not in str(form):
                    self.assertNotIn(b"5be9", answered.body, form)
        last = Walk(walk.browser)
        await last.go(*STARTS)
        after = said(last)
        self.assertEqual(after.keys(), before.keys())
        for path, text in before.items():
            if path == "/settings/second-factor":  # a secret is made whenever it is looked at
                continue
            self.assertEqual(after[path].splitlines(), text.splitlines(), path)

    async def test_who_is_not_logged_in(self) -> None:
        """Every page leads to the login, every form is refused; the administrator's to anybody."""
        browser = await self.logged_in()
        nobody = Browser(browser.server)
        for route in self.routes(browser):
            is_admins = route.path.startswith("/admin")
            if route.path.endswith(("/login", "/login/code")):
                continue
            path = re.sub(r"\{\w+\}", "1", route.path)
            answered = await (browser if is_admins else nobody).ask(route.methods[0], path)
            if route.methods[0] == "POST":
                self.assertEqual(answered.status, 401, path)
            else:
                login = "/admin/login" if is_admins else "/login"
                self.assertEqual(answered.status, 303, path)
                self.assertTrue(answered.headers["location"].startswith(login), path)
