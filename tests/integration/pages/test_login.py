"""Logging in at the pages, and what is believed of a browser."""

from __future__ import annotations

from mailrelay.testing.loopback import USER
from tests.integration.pages.browser import BrowserCase, Page
from tests.integration.world import OTHER_PASSWORD


class LoginTests(BrowserCase):
    """Sessions, as a browser has them."""

    async def test_nobody_sees_anything(self) -> None:
        """Every page leads to the login, and from there back; a form changes nothing."""
        browser = await self.browser()
        for path in ("/", "/sent", "/mail/1", "/mail/1/raw", "/mail/arrivals", "/sent/1"):
            answered = await browser.ask("GET", path)
            self.assertEqual(answered.status, 303, path)
            there = "/login" if path == "/" else f"/login?next={path}"
            self.assertEqual(answered.headers["location"], there)
        answered = await browser.ask("POST", "/mail", {"id": "1", "action": "delete"})
        self.assertEqual(answered.status, 401)

    async def test_in_and_out(self) -> None:
        """The cookie is no script's, no other site's, and nothing once logged out."""
        browser = await self.browser()
        form = {"login": USER, "password": "wrong", "next": "/sent"}
        answered = await browser.ask("POST", "/login", form)
        self.assertEqual(answered.status, 401)
        self.assertIn("wrong", Page(answered).text)
        self.assertEqual(browser.cookies, {})
        answered = await browser.ask("POST", "/login", {**form, "password": "correct horse"})
        self.assertEqual((answered.status, answered.headers["location"]), (303, "/sent"))
        cookie = answered.headers["set-cookie"]
        self.assertIn("; HttpOnly; SameSite=Strict", cookie)
        page = await browser.open("/sent")
        stolen = dict(browser.cookies)
        answered = await browser.send("/logout", page)
        self.assertEqual((answered.status, browser.cookies), (303, {}))
        browser.cookies = stolen
        self.assertEqual((await browser.ask("GET", "/sent")).status, 303)

    async def test_never_leads_away(self) -> None:
        """``next`` is a path of ours, whatever somebody put into a link."""
        browser = await self.browser()
        for there in ("https://evil.example/", "//evil.example/", "/\\evil.example", "x", "/\r\n"):
            answered = await browser.ask(
                "POST", "/login", {"login": USER, "password": "correct horse", "next": there}
            )
            self.assertEqual((answered.status, answered.headers["location"]), (303, "/"), there)

    async def test_forms_of_others(self) -> None:
        """A form of another page, or of another session, is not believed."""
        browser = await self.logged_in()
        page = await browser.open("/")
        fields = {"id": "1", "action": "delete"}
        for site in ("cross-site", "same-site"):
            answered = await browser.ask(
                "POST", "/mail", {**page.hidden, **fields}, {"Sec-Fetch-Site": site}
            )
            self.assertEqual(answered.status, 403, site)
        origin = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        self.assertEqual((await browser.ask("POST", "/login", {}, origin)).status, 403)
        for token in (None, "", "0" * 64):
            given = {**page.hidden, **fields, "form_token": token or ""}
            self.assertEqual((await browser.ask("POST", "/mail", given)).status, 403, token)
        await browser.log_in("other@example.org", OTHER_PASSWORD)
        self.assertEqual((await browser.send("/mail", page, **fields)).status, 403)

    async def test_too_many_failures(self) -> None:
        """The limits are those of SMTP and the APIs."""
        browser = await self.browser()
        form = {"login": USER, "password": "wrong"}
        statuses = [(await browser.ask("POST", "/login", form)).status for _ in range(12)]
        self.assertEqual(statuses, [401] * 10 + [429] * 2)

    async def test_administrator(self) -> None:
        """Another login, with a cookie of its own; an account's gives nothing there."""
        browser = await self.logged_in()
        answered = await browser.ask("POST", "/admin/login", {"password": "correct horse"})
        self.assertEqual(answered.status, 401)
        answered = await browser.ask("POST", "/admin/login", {"password": "admin password"})
        self.assertEqual((answered.status, answered.headers["location"]), (303, "/admin"))
        self.assertEqual(set(browser.cookies), {"mailrelay", "mailrelay-admin"})

    async def test_headers(self) -> None:
        """Of every page, refusals included."""
        browser = await self.logged_in()
        for path in ("/", "/login", "/mail/99999", "/sent", "/nowhere/at/all"):
            headers = (await browser.ask("GET", path)).headers
            policy = headers["content-security-policy"]
            self.assertTrue(policy.startswith("default-src 'none'"), path)
            self.assertNotIn("unsafe", policy)
            self.assertEqual(headers["x-content-type-options"], "nosniff", path)
            self.assertEqual(headers["cache-control"], "no-store", path)
        headers = (await browser.ask("GET", "/")).headers
        self.assertEqual(headers["x-dns-prefetch-control"], "off")

    async def test_files_of_pages(self) -> None:
        """What pages load is there, and kept; their paths change with what is in them."""
        browser = await self.browser()
        page = await browser.open("/login")
        loaded = [
            given.get("src") or given.get("href")
            for tag, given in page.tags
            if tag in ("script", "link", "img")
        ]
        self.assertEqual(len(set(loaded)), 3)
        for path in loaded:
            assert path is not None
            self.assertRegex(path, r"^/static/[0-9a-f]{16}/")
            answered = await browser.ask("GET", path)
            self.assertEqual(answered.status, 200, path)
            self.assertIn("immutable", answered.headers["cache-control"])
