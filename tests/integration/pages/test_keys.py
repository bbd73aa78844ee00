"""API keys on the account's pages."""

from __future__ import annotations

import re

from tests.integration.pages.browser import Browser, BrowserCase, Page
from tests.integration.webapi.api import API
from tests.integration.world import OTHER_PASSWORD

HOSTILE = "<script>alert(1)</script>\"'{{7*7}}"


class KeyTests(BrowserCase):
    """``/keys``."""

    async def made(self, browser: Browser, **fields: object) -> tuple[str, Page]:
        """A key that was made, and the page that shows it."""
        page = await browser.open("/keys")
        answered = await browser.send("/keys", page, **{"name": "shop", "scope": "read", **fields})
        self.assertEqual(answered.status, 200, answered)
        [key] = re.findall(rb'value="(mrk_[0-9a-f]{40})"', answered.body)
        return key.decode(), Page(answered)

    async def status(self, browser: Browser, key: str) -> int:
        """What the API answers who has ``key``."""
        headers = {"Authorization": f"Bearer {key}"}
        answered = await API(browser.server).ask("GET", "/api/v1/account", headers=headers)
        return answered.status

    def revoking(self, page: Page) -> list[str]:
        """Where the forms go that revoke the keys of a list."""
        forms = [given.get("action") or "" for tag, given in page.tags if tag == "form"]
        return [one for one in forms if one.endswith("/revoke")]

    async def test_life(self) -> None:
        """A key is shown once, works, is listed without what it is, and is revoked at once."""
        browser = await self.logged_in()
        self.assertIn("There are no keys", (await browser.open("/keys")).text)
        key, page = await self.made(browser, scope=["send", "read"], senders="user@example.org")
        self.assertIn("the only page that shows it", page.text)
        self.assertEqual(page.answered.headers["cache-control"], "no-store")
        self.assertEqual(await self.status(browser, key), 200)
        listed = await browser.open("/keys")
        self.assertNotIn(key, listed.answered.body.decode())
        for text in ("shop", "send", "read", "from user@example.org"):
            self.assertIn(text, listed.text)
        [path] = self.revoking(listed)
        answered = await browser.send(path, listed)
        self.assertEqual(answered.headers["location"], "/keys?done=revoked")
        self.assertIn("is revoked", (await browser.open("/keys?done=revoked")).text)
        self.assertEqual(await self.status(browser, key), 401)
        self.assertEqual((await browser.send(path, listed)).status, 404)

    async def test_refused(self) -> None:
        """What is wrong is said in the form at its field, and what was typed is kept."""
        browser = await self.logged_in()
        page = await browser.open("/keys")
        good = {"name": "shop", "scope": "send", "networks": "192.0.2.0/24"}
        for field, value, text in (
            ("name", "", "name"),
            ("name", "a\x01b", "The name"),
            ("name", "x" * 101, "The name"),
            ("scope", "", "scope"),
            ("senders", "a@b@c", "neither"),
            ("senders", "shop.test\n<x>", "neither"),
            ("networks", "192.0.2.1/24", "no network"),
            ("expires_at", "soon", "a time"),
            ("expires_at", "2001-01-01T00:00", "expired"),
            ("requests_per_minute", "0", "limit"),
            ("requests_per_minute", "9" * 12, "limit"),
            ("requests_per_minute", "many", "digits"),
        ):
            answered = await browser.send("/keys", page, **{**good, field: value})
            self.assertEqual(answered.status, 422, (field, value))
            refused = Page(answered)
            [trouble] = re.findall(r'id="trouble">([^<]*)<', answered.body.decode())
            self.assertIn(text.lower(), (field + " " + trouble).lower())
            named = [given.get("name") for _, given in refused.tags if "aria-invalid" in given]
            self.assertEqual(named, [None if field == "scope" else field], (field, value))
            if field != "networks":
                self.assertIn("192.0.2.0/24", answered.body.decode())
        self.assertEqual(self.revoking(await browser.open("/keys")), [])

    async def test_hostile_name(self) -> None:
        """A name is text wherever it is shown."""
        browser = await self.logged_in()
        _, page = await self.made(browser, name=HOSTILE)
        for shown in (page, await browser.open("/keys")):
            self.assertIn(HOSTILE, shown.text)
            self.assertNotIn(b"<script>alert", shown.answered.body)
            self.assertNotIn("49", shown.text)

    async def test_of_another_account(self) -> None:
        """Another account's key is not there: not in the list, and not to be revoked."""
        browser = await self.logged_in()
        key, _ = await self.made(browser)
        [path] = self.revoking(await browser.open("/keys"))
        other = Browser(browser.server)
        await other.log_in("other@example.org", OTHER_PASSWORD)
        page = await other.open("/keys")
        self.assertEqual(self.revoking(page), [])
        self.assertEqual((await other.send(path, page)).status, 404)
        self.assertEqual(await self.status(browser, key), 200)

    async def test_logged_in_only(self) -> None:
        """Nobody else makes one."""
        browser = await self.browser()
        self.assertEqual((await browser.ask("GET", "/keys")).status, 303)
        for path in ("/keys", "/keys/1/revoke"):
            self.assertEqual((await browser.ask("POST", path, {"name": "x"})).status, 401)
