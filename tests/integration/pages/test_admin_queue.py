"""The queue on the administrator's pages."""

from __future__ import annotations

import re

from tests.integration.pages.browser import Browser, BrowserCase, Page
from tests.integration.webapi.api import API


class QueueTests(BrowserCase):
    """``/admin/queue``."""

    async def queued(self, count: int = 2) -> Browser:
        """The administrator, and ``count`` messages that are put off."""
        browser = await self.browser()
        for number in range(count):
            to = [{"Address": f"x{number}-temperror@localhost"}]
            await API(browser.server).send(To=to, Subject=f"<n{number}>")
        await browser.ask("POST", "/admin/login", {"password": "admin password"})
        for _ in range(600):
            page = await browser.open("/admin/queue")
            if page.text.count("waiting") == count:
                break
        return browser

    def ids(self, page: Page) -> list[str]:
        """Of the entries that are listed."""
        return [one.rpartition("/")[2] for one in page.links if re.search(r"queue/\d+$", one)]

    async def test_only_the_administrator(self) -> None:
        """An account's session opens none of it."""
        browser = await self.logged_in()
        for path in ("/admin", "/admin/queue", "/admin/queue/1"):
            answered = await browser.ask("GET", path)
            self.assertEqual(answered.status, 303, path)
            self.assertTrue(answered.headers["location"].startswith("/admin/login"), path)
        answered = await browser.ask("POST", "/admin/queue", {"id": "1", "action": "drop"})
        self.assertEqual(answered.status, 401)

    async def test_list(self) -> None:
        """All accounts' entries, narrowed by what is typed in."""
        browser = await self.queued()
        page = await browser.open("/admin/queue")
        self.assertEqual(len(self.ids(page)), 2)
        self.assertIn("<n0>", page.text)
        for query, count in {
            "recipient=x1-": 1,
            "domain=localhost": 2,
            "sender=nobody": 0,
            "account=user": 2,
            "state=held": 0,
            "state=retired": 0,
        }.items():
            found = self.ids(await browser.open(f"/admin/queue?{query}"))
            self.assertEqual(len(found), count, query)

    async def test_entry(self) -> None:
        """Everything that happened to it."""
        browser = await self.queued(1)
        (id_,) = self.ids(await browser.open("/admin/queue"))
        page = await browser.open(f"/admin/queue/{id_}")
        self.assertIn("Delayed", page.text)
        self.assertIn("failure with code 451", page.text)
        self.assertEqual((await browser.ask("GET", "/admin/queue/999999")).status, 404)

    async def test_changes(self) -> None:
        """What is chosen, or all that fit; what happened is said."""
        browser = await self.queued()
        page = await browser.open("/admin/queue")
        one, _ = self.ids(page)
        answered = await browser.send("/admin/queue", page, id=one, action="hold")
        page = await browser.open(answered.headers["location"])
        self.assertIn("1 entry is held.", page.text)
        narrowed = await browser.open("/admin/queue?domain=localhost")
        answered = await browser.send("/admin/queue", narrowed, all="1", action="hold")
        self.assertIn("changed=1", answered.headers["location"])
        held = await browser.open("/admin/queue?state=held")
        self.assertEqual(len(self.ids(held)), 2)
        answered = await browser.send("/admin/queue", held, all="1", action="drop")
        self.assertIn(
            "2 entries are dropped", (await browser.open(answered.headers["location"])).text
        )
        self.assertIn("The queue is empty", (await browser.open("/admin/queue")).text)
        retired = await browser.open("/admin/queue?state=retired")
        self.assertEqual(retired.text.count("canceled"), 2)

    async def test_nothing_named(self) -> None:
        """All of the queue is not changed by mistake."""
        browser = await self.queued(1)
        page = await browser.open("/admin/queue")
        for fields, status in (
            ({"action": "drop"}, 422),
            ({"action": "drop", "all": "1"}, 422),
            ({"action": "explode", "id": "1"}, 404),
        ):
            self.assertEqual((await browser.send("/admin/queue", page, **fields)).status, status)
        self.assertEqual(len(self.ids(await browser.open("/admin/queue"))), 1)
