"""What an account sent, its timeline, and what may be done about it."""

from __future__ import annotations

import re

from tests.integration.pages.browser import Browser, BrowserCase, Page
from tests.integration.webapi.api import API
from tests.integration.world import OTHER_PASSWORD


class SentCase(BrowserCase):
    """A test that looks at what was sent."""

    async def sent(self, browser: Browser, **fields: object) -> str:
        """The page of a message that is sent."""
        await API(browser.server).send(**fields)
        page = await browser.open("/sent")
        return next(one for one in page.links if re.fullmatch(r"/sent/\d+", one))

    async def state_is(self, browser: Browser, path: str, word: str) -> Page:
        """The page once it says so."""
        found: list[Page] = []

        for _ in range(600):
            found[:] = [await browser.open(path)]
            if word in found[0].text:
                break
        self.assertIn(word, found[0].text)
        return found[0]


class SentTests(SentCase):
    """``/sent``."""

    async def test_empty(self) -> None:
        """It says so."""
        browser = await self.logged_in()
        self.assertIn("sent nothing yet", (await browser.open("/sent")).text)
        self.assertIn("Nothing fits", (await browser.open("/sent?state=failed")).text)

    async def test_delivered(self) -> None:
        """From acceptance to the mailbox."""
        browser = await self.logged_in()
        path = await self.sent(browser, Subject="<i>one</i>")
        page = await self.state_is(browser, path, "Delivered")
        self.assertIn("<i>one</i>", page.text)
        self.assertLess(page.text.index("Accepted"), page.text.index("Delivered"))
        self.assertIn("Retired: all this is over; it is removed", page.text)
        for query, there in (("state=delivered", 1), ("state=failed", 0), ("recipient=x.test", 0)):
            links = (await browser.open(f"/sent?{query}")).links
            self.assertEqual(links.count(path), there, query)

    async def test_delayed(self) -> None:
        """The reply is shown; the entry can be held, released, tried again and canceled."""
        browser = await self.logged_in()
        to = [{"Address": "x-temperror@localhost"}]
        path = await self.sent(browser, To=to)
        page = await self.state_is(browser, path, "failure with code 451")
        self.assertIn("Next attempt due in", page.text)
        await browser.send(path, page, action="hold")
        page = await self.state_is(browser, path, "Held")
        answered = await browser.send(path, page, action="hold")
        self.assertEqual(answered.status, 422)
        await browser.send(path, page, action="release")
        page = await self.state_is(browser, path, "Released")
        await browser.send(path, page, action="retry")
        page = await self.state_is(browser, path, "Rescheduled")
        await browser.send(path, page, action="cancel")
        page = await self.state_is(browser, path, "Canceled")
        self.assertEqual((await browser.send(path, page, action="explode")).status, 404)

    async def test_not_others(self) -> None:
        """Neither seen nor changed by another account."""
        browser = await self.logged_in()
        path = await self.sent(browser, To=[{"Address": "x-temperror@localhost"}])
        mine = await self.state_is(browser, path, "waiting")
        other = Browser(browser.server)
        await other.log_in("other@example.org", OTHER_PASSWORD)
        self.assertEqual((await other.ask("GET", path)).status, 404)
        theirs = await other.open("/sent")
        entry = mine.hidden["entry"]
        answered = await other.send(path, theirs, entry=entry, action="cancel")
        self.assertEqual(answered.status, 404)
        await self.state_is(browser, path, "waiting")
