"""An account's mail in numbers."""

from __future__ import annotations

from twisted.internet import reactor as the_reactor

from tests.integration.pages.browser import Browser, BrowserCase, Page
from tests.integration.webapi.api import API
from tests.integration.world import OTHER_PASSWORD, soon


class OverviewTests(BrowserCase):
    """``/overview``."""

    async def shown(self, browser: Browser, path: str, *texts: str) -> Page:
        """The page once it says all of this."""
        for _ in range(300):
            page = await browser.open(path)
            if all(text in page.text for text in texts):
                break
            await soon(the_reactor)
        for text in texts:
            self.assertIn(text, page.text)
        return page

    async def test_empty(self) -> None:
        """It says what to do."""
        browser = await self.logged_in()
        page = await browser.open("/overview")
        self.assertIn("Nothing was sent in the last 48 hours", page.text)
        self.assertIn("without a limit", page.text)

    async def test_numbers(self) -> None:
        """What was sent, what failed and where, what waits; with links to the messages."""
        browser = await self.logged_in()
        api = API(browser.server)
        await api.send(To=[{"Address": "x-permerror@localhost"}], Subject="one")
        await api.send(To=[{"Address": "y-temperror@localhost"}], Subject="two")
        page = await self.shown(browser, "/overview", "Put off by an attempt1", "Failed1")
        self.assertIn("50.0%", page.text)
        self.assertIn("1 recipient", page.text)
        links = [one for one in page.links if one.startswith("/sent?")]
        failed = next(one for one in links if "state=failed" in one and "recipient=" in one)
        self.assertIn("recipient=localhost", failed)
        messages = await browser.open(failed)
        self.assertIn("one", messages.text)
        self.assertNotIn("two", messages.text)
        hour = next(one for one in links if "until=" in one and "state" not in one)
        self.assertEqual((await browser.ask("GET", hour)).status, 200)
        by_day = await browser.open("/overview?span=30d")
        self.assertIn("Mail by day", by_day.text)
        self.assertIn("Nothing with the tag", (await browser.open("/overview?tag=no")).text)

    async def test_not_others(self) -> None:
        """Another account has numbers of its own."""
        browser = await self.logged_in()
        await API(browser.server).send(To=[{"Address": "x-permerror@localhost"}])
        await self.shown(browser, "/overview", "Failed1")
        other = Browser(browser.server)
        await other.log_in("other@example.org", OTHER_PASSWORD)
        self.assertIn("Nothing was sent", (await other.open("/overview")).text)

    async def test_odd_queries(self) -> None:
        """What is not offered is not asked for."""
        browser = await self.logged_in()
        for query in ("span=10000d", "tag=" + "x" * 3000, "span=%3Cb%3E"):
            self.assertEqual((await browser.ask("GET", f"/overview?{query}")).status, 200, query)
