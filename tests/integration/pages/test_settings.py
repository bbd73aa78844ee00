"""What an account sets of itself, and how it, and the administrator, log in."""

from __future__ import annotations

import re
import time

from twisted.internet import reactor

from mailrelay.control.directory import AccountDetails
from mailrelay.control.second_factor import STEP
from mailrelay.testing.factors import code_at
from mailrelay.testing.loopback import PASSWORD, USER
from tests.integration.pages.browser import Browser, BrowserCase, Page
from tests.integration.webapi.api import API, basic
from tests.integration.webapi.v1.client import Client
from tests.integration.world import OTHER_PASSWORD, until

NEW = " a new  password "


class SettingsTests(BrowserCase):
    """``/settings``."""

    async def test_changed(self) -> None:
        """Name, retention and FromIDs; limits are only shown."""
        browser = await self.logged_in()
        page = await browser.open("/settings")
        fields = {
            "full_name": "Joe <b>",
            "retired_kept_for": "1.5",
            "calls_kept_for": "",
            "from_id_login": [USER],
            "quota_bytes": "1",
            "messages_per_day": "1",
        }
        answered = await browser.send("/settings", page, **fields)
        self.assertEqual(answered.headers["location"], "/settings?done=changed")
        page = await browser.open("/settings?done=changed")
        self.assertIn("The settings are changed", page.text)
        values = {given.get("name"): given.get("value") for _, given in page.tags}
        self.assertEqual(
            (values["full_name"], values["retired_kept_for"], values["calls_kept_for"]),
            ("Joe <b>", "1.5", ""),
        )
        self.assertIn("without a limit", page.text)
        [account] = [
            one for one in browser.server.server.directory.accounts.values() if one.name == "user"
        ]
        self.assertEqual(account.retired_kept_for, 1.5 * 86400)
        self.assertEqual(account.from_id_logins, {USER})
        self.assertIsNone(account.quota_bytes)
        self.assertIsNone(account.messages_per_day)

    async def test_wrong(self) -> None:
        """What was typed stays; nothing is changed."""
        browser = await self.logged_in()
        page = await browser.open("/settings")
        for fields in (
            {"retired_kept_for": "soon"},
            {"retired_kept_for": "nan"},
            {"retired_kept_for": "-1"},
            {"calls_kept_for": "1e9"},
            {"from_id_login": "other@example.org"},
            {"full_name": "a\r\nb"},
        ):
            given = {
                "full_name": "Kept name",
                "retired_kept_for": "",
                "calls_kept_for": "",
                **fields,
            }
            answered = await browser.send("/settings", page, **given)
            self.assertEqual(answered.status, 422, fields)
            self.assertIn(b'class="problem"', answered.body)
        self.assertNotIn("Kept name", str(browser.server.server.directory.accounts))

    async def test_password(self) -> None:
        """By who knows the old one; other sessions end, SCRAM follows."""
        browser = await self.logged_in()
        elsewhere = Browser(browser.server)
        await elsewhere.log_in()
        page = await browser.open("/settings")
        for fields, status in (
            ({"current": "wrong", "new": NEW, "again": NEW}, 422),
            ({"current": PASSWORD, "new": NEW, "again": NEW.strip()}, 422),
            ({"current": PASSWORD, "new": "short", "again": "short"}, 422),
            ({"current": PASSWORD, "new": "\U0001f511" * 9, "again": "\U0001f511" * 9}, 422),
        ):
            answered = await browser.send("/settings/password", page, **fields)
            self.assertEqual(answered.status, status, fields)
        verifiers = self.verifiers(browser)
        fields = {"current": PASSWORD, "new": NEW, "again": NEW}
        answered = await browser.send("/settings/password", page, **fields)
        self.assertEqual(answered.headers["location"], "/settings?done=password")
        self.assertIn("is changed", (await browser.open("/settings?done=password")).text)
        self.assertEqual((await elsewhere.ask("GET", "/settings")).status, 303)
        self.assertNotEqual(self.verifiers(browser), verifiers)
        self.assertEqual((await elsewhere.log_in()).status, 401)
        self.assertEqual((await elsewhere.log_in(password=NEW)).status, 303)

    def verifiers(self, browser: Browser) -> list[str | None]:
        """SCRAM's."""
        accounts = browser.server.server.directory.accounts.values()
        return [one.scram_verifier for one in accounts if one.name == "user"]

    async def test_sessions(self) -> None:
        """One's own are listed and ended; nobody else's."""
        browser = await self.logged_in()
        elsewhere, other = Browser(browser.server), Browser(browser.server)
        await elsewhere.log_in()
        await other.log_in("other@example.org", OTHER_PASSWORD)
        page = await browser.open("/settings")
        self.assertEqual(page.text.count("this one"), 1)
        fields = {"session": page.hidden["session"]}
        others = await other.open("/settings")
        self.assertNotIn("session", others.hidden)
        refused = await other.send("/settings/sessions", others, **fields)
        self.assertEqual(refused.status, 404)
        self.assertEqual((await elsewhere.ask("GET", "/settings")).status, 200)
        await browser.send("/settings/sessions", page, **fields)
        self.assertEqual((await elsewhere.ask("GET", "/settings")).status, 303)
        await elsewhere.log_in()
        await browser.send("/settings/sessions", page, action="others")
        self.assertEqual((await elsewhere.ask("GET", "/settings")).status, 303)
        self.assertEqual((await other.ask("GET", "/settings")).status, 200)
        self.assertEqual((await browser.ask("GET", "/settings")).status, 200)


class SecondFactorTests(BrowserCase):
    """Codes after the password."""

    async def turned_on(self, browser: Browser, base: str, password: str) -> tuple[str, list[str]]:
        """The secret, and the recovery codes."""
        page = await browser.open(f"{base}/second-factor")
        secret = self.secret(page)
        self.used = code_at(secret, time.time())
        fields = {"code": self.used, "password": password}
        answered = await browser.send(f"{base}/second-factor", page, **fields)
        self.assertEqual(answered.status, 200, answered)
        codes = re.findall(r"(?:[A-Z2-7]{4}-){3}[A-Z2-7]{4}", Page(answered).text)
        self.assertEqual(len(codes), 8)
        return secret, codes

    def secret(self, page: Page) -> str:
        """As it is written on the page."""
        written: str
        [written] = re.findall(r"(?:[A-Z2-7]{4} ){7}[A-Z2-7]{4}", page.text)
        return written.replace(" ", "")

    async def test_account(self) -> None:
        """Turned on by a code, asked for at the next login, turned off; no code is good twice."""
        browser = await self.logged_in()
        elsewhere = Browser(browser.server)
        await elsewhere.log_in()
        page = await browser.open("/settings/second-factor")
        secret = self.secret(page)
        now = code_at(secret, time.time())
        for fields, text in (
            ({"code": "000000", "password": PASSWORD}, "code is wrong"),
            ({"code": now, "password": "wrong"}, "password is wrong"),
        ):
            answered = await browser.send("/settings/second-factor", page, **fields)
            self.assertEqual(answered.status, 422)
            again = Page(answered)
            self.assertIn(text, again.text)
            self.assertEqual(self.secret(again), secret, "what was read stays")
        self.assertEqual((await elsewhere.log_in()).headers["location"], "/")
        secret, codes = await self.turned_on(browser, "/settings", PASSWORD)
        self.assertEqual((await browser.ask("GET", "/settings")).status, 200)
        self.assertEqual((await elsewhere.ask("GET", "/settings")).status, 303)
        answered = await elsewhere.log_in()
        self.assertEqual(answered.headers["location"], "/login/code?next=/")
        self.assertIn("Max-Age=300", answered.headers["set-cookie"])
        for path in ("/", "/settings", "/mail/1", "/settings/second-factor"):
            self.assertEqual((await elsewhere.ask("GET", path)).status, 303, path)
        page = await elsewhere.open("/login/code?next=/sent")
        for code in (self.used, "000000", "", "A" * 16):
            answered = await elsewhere.send("/login/code", page, code=code)
            self.assertEqual(answered.status, 401, code)
        ahead = code_at(secret, time.time() + STEP)
        answered = await elsewhere.send("/login/code", page, code=ahead)
        self.assertEqual((answered.status, answered.headers["location"]), (303, "/sent"))
        self.assertEqual((await elsewhere.ask("GET", "/sent")).status, 200)
        third = Browser(browser.server)
        await third.log_in()
        self.assertEqual((await third.send("/login/code", page, code=ahead)).status, 401)
        self.assertEqual((await third.send("/login/code", page, code=codes[0])).status, 303)
        await third.log_in()
        self.assertEqual((await third.send("/login/code", page, code=codes[0])).status, 401)
        page = await browser.open("/settings/second-factor")
        off = "/settings/second-factor/off"
        for code, password in (("000000", PASSWORD), (codes[1], "wrong")):
            answered = await browser.send(off, page, code=code, password=password)
            self.assertEqual(answered.status, 422)
        answered = await browser.send(off, page, code=codes[1].lower(), password=PASSWORD)
        self.assertEqual(answered.headers["location"], "/settings?done=off")
        self.assertEqual((await third.log_in()).headers["location"], "/")

    async def test_guessing(self) -> None:
        """Ten wrong codes in an hour, however often the password is right; then recovery codes."""
        browser = await self.logged_in()
        secret, codes = await self.turned_on(browser, "/settings", PASSWORD)
        elsewhere = Browser(browser.server)
        statuses = []
        for _ in range(4):
            await elsewhere.log_in()
            page = await elsewhere.open("/login/code")
            for _ in range(3):
                answered = await elsewhere.send("/login/code", page, code="000000")
                statuses.append(answered.status)
        self.assertEqual(statuses, [401] * 10 + [429] * 2)
        right = code_at(secret, time.time() + STEP)
        answered = await elsewhere.send("/login/code", page, code=right)
        self.assertEqual(answered.status, 429)
        answered = await elsewhere.send("/login/code", page, code=codes[5])
        self.assertEqual(answered.status, 303, answered)

    async def test_between_password_and_code(self) -> None:
        """What the browser keeps meanwhile is good for nothing else, and ends with the password."""
        browser = await self.logged_in()
        _, codes = await self.turned_on(browser, "/settings", PASSWORD)
        nobody = Browser(browser.server)
        self.assertEqual((await nobody.ask("GET", "/login/code")).headers["location"], "/login")
        answered = await nobody.ask("POST", "/login/code", {"code": codes[0]})
        self.assertEqual(answered.status, 401)
        forged = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        answered = await nobody.ask("POST", "/login/code", {"code": codes[0]}, forged)
        self.assertEqual(answered.status, 403)
        await nobody.log_in()
        [value] = nobody.cookies.values()
        nobody.cookies = {"mailrelay-admin": value}
        answered = await nobody.ask("POST", "/admin/login/code", {"code": codes[0]})
        self.assertEqual(answered.status, 401)
        control = browser.server.control()
        self.addCleanup(control.close)
        details = AccountDetails(password="another password")
        await control.directory.set_account("user", details)
        before = self.password_hash(browser)
        await until(reactor, lambda: self.password_hash(browser) != before)
        nobody.cookies = {"mailrelay": value}
        answered = await nobody.ask("POST", "/login/code", {"code": codes[0]})
        self.assertEqual(answered.status, 401)

    def password_hash(self, browser: Browser) -> str | None:
        """The account's."""
        accounts = browser.server.server.directory.accounts.values()
        [found] = [one.password_hash for one in accounts if one.name == "user"]
        return found

    async def test_api(self) -> None:
        """Programs go on with the password: a code is for people."""
        browser = await self.logged_in()
        await self.turned_on(browser, "/settings", PASSWORD)
        client = Client(API(browser.server), basic())
        self.assertEqual((await client.ask("GET", "/account")).status, 200)

    async def test_administrator(self) -> None:
        """The same, for another login; an account's secret is none of the administrator's."""
        browser = await self.browser()
        await browser.ask("POST", "/admin/login", {"password": "admin password"})
        page = await browser.open("/admin/security")
        self.assertIn("password alone", page.text)
        secret, _ = await self.turned_on(browser, "/admin/security", "admin password")
        answered = await browser.ask("POST", "/admin/login", {"password": "admin password"})
        self.assertEqual(answered.headers["location"], "/admin/login/code?next=/admin")
        self.assertEqual((await browser.ask("GET", "/admin/queue")).status, 303)
        code = {"code": code_at(secret, time.time() + STEP), "next": "/admin/queue"}
        answered = await browser.ask("POST", "/admin/login/code", code)
        self.assertEqual(answered.headers["location"], "/admin/queue")
        page = await browser.open("/admin/security")
        fields = {"current": "admin password", "new": NEW, "again": NEW}
        answered = await browser.send("/admin/security/password", page, **fields)
        self.assertEqual(answered.status, 303, answered)
        self.assertEqual((await browser.ask("GET", "/admin/security")).status, 200)
        answered = await Browser(browser.server).ask("POST", "/admin/login", {"password": NEW})
        self.assertEqual(answered.headers["location"], "/admin/login/code?next=/admin")
