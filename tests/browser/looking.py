"""Somebody who looks at pages in Chromium, and everything that must not happen meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from attrs import define, field, frozen
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect

from tests.browser.localserve import Localserve, Person, until

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox"] if os.geteuid() == 0 else []
"""Chromium has no sandbox for root."""

REFUSED = "the server responded with a status of 4"
"""A page that says no is no trouble of the browser's."""


@define(slots=False)  # Playwright keeps what wraps a method beside it
class Trouble:
    """What pages did that none of ours may do, in words."""

    base: str
    allowed: str = "data:"
    seen: list[str] = field(factory=list)

    def watch(self, context: BrowserContext) -> None:
        """Look at all that happens in ``context``."""
        context.on("console", self._console)
        context.on("weberror", lambda one: self.seen.append(f"error: {one.error}"))
        context.on("request", lambda one: self._request(one.url))
        context.on("page", lambda page: page.on("dialog", self._dialog))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and REFUSED not in message.text:
            self.seen.append(f"console: {message.text}")

    def _request(self, url: str) -> None:
        if not url.startswith((f"{self.base}/", "data:", self.allowed)):
            self.seen.append(f"request: {url}")

    def _dialog(self, dialog: Any) -> None:
        if dialog.type == "confirm":  # ours: it asks before what cannot be undone
            dialog.accept()
        else:
            self.seen.append(f"dialog: {dialog.message}")
            dialog.dismiss()


@frozen
class Look:
    """A context of the browser, with who is logged in, and the page in it."""

    server: Localserve
    context: BrowserContext
    page: Page
    trouble: Trouble

    def log_in(self, person: Person) -> None:
        """Without the page for it: that has tests of its own."""
        form = {"login": person.address, "password": person.password}
        self._sent("/login", form)

    def log_in_admin(self) -> None:
        """As the administrator, beside whoever is logged in."""
        self._sent("/admin/login", {"password": self.server.admin_password})

    def _sent(self, path: str, form: dict[str, str]) -> None:
        sent: Any = form
        answer = self.context.request.post(f"{self.server.base}{path}", form=sent, max_redirects=0)
        assert answer.status == 303, answer.text()

    def open(self, path: str, status: int = 200) -> Page:
        """A page, which is answered with ``status``."""
        answer = self.page.goto(f"{self.server.base}{path}")
        assert answer is not None
        assert answer.status == status, (path, answer.status)
        return self.page

    def open_until(self, path: str, selector: str) -> Page:
        """A page, looked at again until it has ``selector``."""

        def is_there() -> bool:
            return self.open(path).locator(selector).count() > 0

        until(is_there, f"{selector} on {path}")
        return self.page

    @property
    def path(self) -> str:
        """Where the page is now, with its query."""
        parts = urlsplit(self.page.url)
        return parts.path + (f"?{parts.query}" if parts.query else "")


def press(page: Page, name: str) -> None:
    """The only button of that name."""
    page.get_by_role("button", name=name, exact=True).click()


def said(page: Page, text: str) -> None:
    """What was done is said."""
    expect(page.get_by_role("status").filter(has_text=text)).to_be_visible()


@contextmanager
def looking(browser: Browser, server: Localserve, **options: Any) -> Iterator[Look]:
    """A new context with a page; in the end there was no trouble.  ``options`` are Playwright's."""
    context = browser.new_context(**options)
    context.set_default_timeout(20_000)
    trouble = Trouble(server.base)
    trouble.watch(context)
    try:
        yield Look(server, context, context.new_page(), trouble)
    finally:
        context.close()
    assert not trouble.seen, "\n".join(trouble.seen)
