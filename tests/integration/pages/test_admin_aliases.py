"""Aliases on the administrator's pages."""

from __future__ import annotations

import re
from typing import Any

from mailrelay.control.aliases import AliasDetails
from mailrelay.directory.aliases import OnDisabled, Rewrite
from tests.integration.pages.browser import Browser, BrowserCase, Page

DETAILS = AliasDetails()
TEAM = "/admin/aliases/team@example.org"


class AliasesTests(BrowserCase):
    """``/admin/aliases``."""

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

    async def with_team(self) -> Browser:
        """The administrator, who made an alias."""
        browser = await self.admin()
        page = await self.changed(
            browser,
            "/admin/aliases",
            address="Team@example.org",
            members="user@example.org, other@example.org\r\n x@elsewhere.test",
        )
        self.assertIn("The alias is added.", page.text)
        return browser

    async def test_only_the_administrator(self) -> None:
        """An account's session opens none of it."""
        browser = await self.logged_in()
        for path in ("/admin/aliases", TEAM):
            self.assertEqual((await browser.ask("GET", path)).status, 303, path)
            answered = await browser.ask("POST", path, {"action": "remove"})
            self.assertEqual(answered.status, 401, path)

    async def test_listed(self) -> None:
        """By address, narrowed by address, member or owner; what cannot be made is said."""
        browser = await self.admin()
        self.assertIn("no aliases yet", (await browser.open("/admin/aliases")).text)
        control = browser.server.control()
        self.addCleanup(control.close)
        for number in range(101):
            await control.aliases.add(f"a{number:03}@example.org", ["user@example.org"], DETAILS)
        page = await browser.open("/admin/aliases?q=USER@")
        pattern = r"/admin/aliases/(a[0-9]+)@"
        self.assertEqual(len(re.findall(pattern, " ".join(page.links))), 100)
        [more] = [one for one in page.links if "after=" in one]
        page = await browser.open(more)
        self.assertEqual(re.findall(pattern, " ".join(page.links)), ["a100"])
        self.assertIn("Nothing fits", (await browser.open("/admin/aliases?q=nobody")).text)
        text = await self.refused(
            browser, "/admin/aliases", address="t@example.org", members="nobody"
        )
        self.assertIn("The member 'nobody' is no address", text)

    async def test_members(self) -> None:
        """Added, several at a time, and taken off; the last one stays."""
        browser = await self.with_team()
        page = await self.changed(browser, TEAM, action="member-add", members="full@example.org")
        self.assertIn("full@example.org", page.text)
        text = await self.refused(browser, TEAM, action="member-add", members="full@example.org")
        self.assertIn("is a member already", text)
        for member in ("full@example.org", "other@example.org", "x@elsewhere.test"):
            await self.changed(browser, TEAM, action="member-remove", member=member)
        text = await self.refused(browser, TEAM, action="member-remove", member="user@example.org")
        self.assertIn("one member at least", text)

    async def test_set(self) -> None:
        """Every setting; a refused form has what was typed still."""
        browser = await self.with_team()
        flags = ("post_public", "list_members", "allow_from", "is_list", "dmarc_fallback")
        fields = {
            **dict.fromkeys((*flags, "requires_dkim", "disabled"), "1"),
            "on_disabled": "defer",
            "rewrite": "srs",
            "owner": "user@example.org",
            "posters": "a@elsewhere.test b@elsewhere.test",
            "removes_after": "7",
        }
        page = await self.changed(browser, TEAM, action="set", **fields)
        self.assertIn("The alias is changed.", page.text)
        control = browser.server.control()
        self.addCleanup(control.close)
        alias = await control.aliases.alias("team@example.org")
        self.assertTrue(all(getattr(alias, name) for name in flags))
        self.assertTrue(alias.requires_dkim and alias.disabled)
        self.assertEqual((alias.on_disabled, alias.rewrite), (OnDisabled.DEFER, Rewrite.SRS))
        self.assertEqual((str(alias.owner), len(alias.posters)), ("user@example.org", 2))
        self.assertEqual(alias.removes_after, 7)
        answered = await browser.send(TEAM, page, action="set", owner="nobody")
        self.assertEqual(answered.status, 422)
        typed = [attrs for _, attrs in Page(answered).tags if attrs.get("name") == "owner"]
        self.assertEqual(typed[0]["value"], "nobody")
        page = await self.changed(browser, TEAM, action="set")
        alias = await control.aliases.alias("team@example.org")
        self.assertFalse(alias.owner or alias.posters or alias.removes_after or alias.is_list)

    async def test_removed(self) -> None:
        """It is gone, as what never was."""
        browser = await self.with_team()
        page = await self.changed(browser, TEAM, action="remove")
        self.assertIn("The alias is removed.", page.text)
        for path in (TEAM, "/admin/aliases/x@nowhere.test", "/admin/aliases/x"):
            self.assertEqual((await browser.ask("GET", path)).status, 404, path)
        page = await browser.open("/admin/aliases")
        self.assertEqual((await browser.send(TEAM, page, action="set")).status, 404)
        self.assertEqual((await browser.send(TEAM, page, action="explode")).status, 404)
