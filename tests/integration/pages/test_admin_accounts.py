"""Accounts on the administrator's pages."""

from __future__ import annotations

import re
from typing import Any

from mailrelay.control.keys import NewKey
from mailrelay.directory.keys import Scope
from mailrelay.testing.loopback import PASSWORD
from mailrelay.web.settings import HTTPSettings
from tests.integration.pages.browser import Browser, BrowserCase, Page
from tests.integration.webapi.api import Answered

USER_PAGE, OTHER_PAGE = "/admin/accounts/user", "/admin/accounts/other"


class AccountsTests(BrowserCase):
    """``/admin/accounts``."""

    async def changed(self, browser: Browser, path: str, **fields: Any) -> Page:
        """The page that is gone on to after a form was sent."""
        answered = await browser.send(path, await browser.open(path), **fields)
        self.assertEqual(answered.status, 303, Page(answered).text)
        return await browser.open(answered.headers["location"])

    async def refused(self, browser: Browser, path: str, **fields: Any) -> str:
        """What a form that cannot be done is answered with."""
        answered = await browser.send(path, await browser.open(path), **fields)
        self.assertEqual(answered.status, 422, Page(answered).text)
        return Page(answered).text

    def rows(self, page: Page) -> list[str]:
        """The accounts that are listed."""
        found = [re.search(r"/admin/accounts/([^/?]+)$", one) for one in page.links]
        return [one[1] for one in found if one]

    async def test_only_the_administrator(self) -> None:
        """An account's session opens none of it."""
        browser = await self.logged_in()
        for path in ("/admin/accounts", USER_PAGE):
            self.assertEqual((await browser.ask("GET", path)).status, 303, path)
            answered = await browser.ask("POST", path, {"action": "remove", "name": "x"})
            self.assertEqual(answered.status, 401, path)

    async def test_list(self) -> None:
        """All of them by name, narrowed by a name or an address."""
        browser = await self.admin()
        page = await browser.open("/admin/accounts")
        self.assertEqual(self.rows(page), ["full", "other", "user"])
        self.assertIn("0 of 2", page.text)
        page = await browser.open("/admin/accounts?q=dash.example")
        self.assertEqual(self.rows(page), ["user"])
        self.assertIn("Nothing fits", (await browser.open("/admin/accounts?q=%25")).text)

    async def test_added(self) -> None:
        """With a password that is made and shown once, or with one that is typed."""
        browser = await self.admin()
        page = await browser.open("/admin/accounts")
        fields = {"name": "a/b", "address": "ab@example.org", "full_name": "<i>"}
        answered = await browser.send("/admin/accounts", page, **fields)
        self.assertEqual(answered.status, 200)
        [password] = re.findall(r"password is ([a-z2-7]{16}) ", Page(answered).text)
        path = "/admin/accounts/a%2Fb"
        self.assertNotIn(password, (await browser.open(path)).text)
        stranger = Browser(browser.server)
        self.assertEqual((await stranger.log_in("ab@example.org", password)).status, 303)
        typed = {"name": "typed", "password": " with spaces "}
        page = await self.changed(browser, "/admin/accounts", **typed)
        self.assertIn("The account is added.", page.text)
        text = await self.refused(browser, "/admin/accounts", name="typed", password="x" * 9)
        self.assertIn("Account typed exists.", text)
        text = await self.refused(browser, "/admin/accounts", name="short", password="x")
        self.assertIn("at least 8 characters", text)
        text = await self.refused(browser, "/admin/accounts", name="n", address="x@nowhere.test")
        self.assertIn("added, but not its address: no domain nowhere.test", text)

    async def test_set(self) -> None:
        """What is typed in is what it has, also after it was refused."""
        browser = await self.admin()
        fields = {
            "full_name": "A <b>User",
            "quota": "1.5",
            "messages_per_day": "10",
            "new_recipients_per_day": "",
            "retired_kept_for": "0.5",
            "calls_kept_for": "",
            "from_id_logins": "user@example.org\r\n",
            "login_disabled": "1",
        }
        page = await self.changed(browser, USER_PAGE, action="set", **fields)
        self.assertIn("The account is changed.", page.text)
        values = {attrs.get("name"): attrs.get("value") for tag, attrs in page.tags}
        for name in ("full_name", "quota", "messages_per_day", "retired_kept_for"):
            self.assertEqual(values[name], fields[name])
        self.assertIn("of 1.5 MB", page.text)
        self.assertTrue(any("checked" in attrs for _, attrs in page.tags))
        for name, bad in {
            "quota": "many",
            "messages_per_day": "-1",
            "retired_kept_for": "1e9",
            "new_recipients_per_day": "NaN",
            "from_id_logins": "other@example.org",
            "full_name": "a\nb",
        }.items():
            changed = {**fields, "full_name": "Z", name: bad}
            text = await self.refused(browser, USER_PAGE, action="set", **changed)
            self.assertNotIn("is changed", text)
        self.assertIn("A <b>User", str((await browser.open(USER_PAGE)).tags))

    async def test_password(self) -> None:
        """A new one ends the sessions of the old one."""
        browser = await self.admin()
        user = Browser(browser.server)
        await user.log_in()
        page = await browser.open(USER_PAGE)
        answered = await browser.send(USER_PAGE, page, action="password", password="")
        [password] = re.findall(r"password is ([a-z2-7]{16}) ", Page(answered).text)
        self.assertEqual((await user.log_in("user@example.org", PASSWORD)).status, 401)
        self.assertEqual((await user.ask("GET", "/")).status, 303)
        page = await self.changed(browser, USER_PAGE, action="password", password="typed here")
        self.assertIn("The password is changed", page.text)
        self.assertNotIn(password, page.text)
        await self.refused(browser, USER_PAGE, action="password", password="short")

    async def test_addresses(self) -> None:
        """Added and removed; of another account none is."""
        browser = await self.admin()
        for address in ("new@example.org", "@example.org"):
            page = await self.changed(browser, USER_PAGE, action="address-add", address=address)
            self.assertIn(address, page.text)
        self.assertIn("@example.org everything else", page.text)
        text = await self.refused(
            browser, USER_PAGE, action="address-add", address="other@example.org"
        )
        self.assertIn("exists", text)
        text = await self.refused(
            browser, USER_PAGE, action="address-remove", address="other@example.org"
        )
        self.assertIn("has no address", text)
        page = await self.changed(
            browser, USER_PAGE, action="address-remove", address="@example.org"
        )
        self.assertNotIn("@example.org everything else", page.text)

    async def test_keys_and_sessions(self) -> None:
        """What it is used with is listed, and can be taken away."""
        browser = await self.admin()
        user = Browser(browser.server)
        await user.log_in()
        made = await self.key(browser, "to be <b>revoked")
        page = await browser.open(USER_PAGE)
        self.assertIn("to be <b>revoked", page.text)
        await self.refused(browser, OTHER_PAGE, action="key", id=str(made))
        page = await self.changed(browser, USER_PAGE, action="key", id=str(made))
        self.assertNotIn("<b>", page.text)
        page = await self.changed(browser, USER_PAGE, action="sessions")
        self.assertIn("Nobody is logged in", page.text)
        self.assertEqual((await user.ask("GET", "/")).status, 303)

    async def key(self, browser: Browser, name: str) -> int:
        """The number of a key that the account made."""
        control = browser.server.control()
        self.addCleanup(control.close)
        wanted = NewKey(name=name, scopes=frozenset({Scope.READ}))
        made, _ = await control.keys.add("user", wanted)
        return int(made.id)

    async def test_forwarding(self) -> None:
        """Asked for, and ended; where there are no links to confirm it, that is said."""
        browser = await self.admin()
        self.assertIn("set public_url", (await browser.open(OTHER_PAGE)).text)
        await self.refused(browser, OTHER_PAGE, action="forward", forward="x@elsewhere.test")
        browser = await self.admin(http=HTTPSettings(public_url="https://mail.example.org"))
        fields = {"action": "forward", "forward": "x@elsewhere.test", "keep_copy": "1"}
        page = await self.changed(browser, OTHER_PAGE, **fields)
        self.assertIn("x@elsewhere.test is asked to confirm, and a copy stays here", page.text)
        page = await self.changed(browser, OTHER_PAGE, action="forward-end")
        self.assertIn("Mail goes nowhere else.", page.text)
        self.assertNotIn("elsewhere.test", page.text)

    async def test_removed(self) -> None:
        """Once nothing is in the way; what is, is said."""
        browser = await self.admin()
        path = "/admin/accounts/full"
        text = await self.refused(browser, path, action="remove")
        self.assertIn("Account full has 1 addresses: remove them first.", text)
        self.assertIn("It can be removed once its 1 address is removed.", text)
        await self.changed(browser, path, action="address-remove", address="full@example.org")
        page = await self.changed(browser, path, action="remove")
        self.assertIn("The account is removed.", page.text)
        self.assertEqual(self.rows(page), ["other", "user"])
        for method, form in (("GET", None), ("POST", {**page.hidden, "action": "set"})):
            answered: Answered = await browser.ask(method, path, form)
            self.assertEqual(answered.status, 404)

    async def test_nothing_of_the_kind(self) -> None:
        """What is no change is none."""
        browser = await self.admin()
        answered = await browser.send(USER_PAGE, await browser.open(USER_PAGE), action="explode")
        self.assertEqual(answered.status, 404)
