"""Hold rules and aliases, as an account sees them."""

from __future__ import annotations

from twisted.internet import reactor

from mailrelay.control.aliases import AliasDetails
from tests.integration.pages.browser import BrowserCase
from tests.integration.world import OTHER_PASSWORD, until


class HoldTests(BrowserCase):
    """``/holds``."""

    async def test_rules(self) -> None:
        """Added, counted, removed; what was typed stays when it is wrong."""
        browser = await self.logged_in()
        page = await browser.open("/holds")
        self.assertIn("No rule of yours", page.text)
        answered = await browser.send("/holds", page, sender="<b>@c@d", recipient="kept.test")
        self.assertEqual(answered.status, 422)
        self.assertIn(b'value="kept.test"', answered.body)
        self.assertIn(b"&lt;b&gt;@c@d", answered.body)
        answered = await browser.send("/holds", page, sender="<>", recipient="")
        self.assertEqual(answered.headers["location"], "/holds?done=added")
        page = await browser.open("/holds?done=added")
        self.assertIn("The rule is added", page.text)
        [path] = [
            given["action"] or ""
            for tag, given in page.tags
            if tag == "form" and "remove" in (given.get("action") or "")
        ]
        await browser.log_in("other@example.org", OTHER_PASSWORD)
        others = await browser.open("/holds")
        self.assertIn("No rule of yours", others.text)
        self.assertEqual((await browser.send(path, others, action="release")).status, 404)
        await browser.log_in()
        page = await browser.open("/holds")
        answered = await browser.send(path, page, action="release")
        self.assertIn("attempted", (await browser.open(answered.headers["location"])).text)
        self.assertEqual((await browser.send(path, page, action="keep")).status, 404)


class AliasTests(BrowserCase):
    """``/aliases``."""

    async def test_seen(self) -> None:
        """One's own, with members where they may be seen; no other account's."""
        browser = await self.logged_in()
        self.assertIn("belongs to no alias", (await browser.open("/aliases")).text)
        control = browser.server.control()
        self.addCleanup(control.close)
        members = ["user@example.org", "ann@example.net"]
        for name, details in (
            ("open", AliasDetails(list_members=True, allow_from=True)),
            ("closed", AliasDetails(is_list=True)),
        ):
            await control.aliases.add(f"{name}@example.org", members, details)
        await control.aliases.add("secret@example.org", ["other@example.org"], AliasDetails())
        await until(reactor, lambda: len(browser.server.server.directory.aliases) == 3)
        page = await browser.open("/aliases")
        self.assertEqual(page.text.count("ann@example.net"), 1)
        self.assertIn("not shown to members", page.text)
        self.assertEqual(page.text.count("send as it"), 1)
        self.assertNotIn("secret@", page.text)
