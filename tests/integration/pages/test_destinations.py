"""Destinations on the administrator's pages."""

from __future__ import annotations

from twisted.internet import reactor as the_reactor

from mailrelay.config.transports import RelayHostSection
from tests.cli.operated import soon
from tests.integration.pages.browser import Browser, BrowserCase, Page
from tests.integration.webapi.api import API

KEY = "relay:127.0.0.1:1:may"
PATH = "/admin/destinations/relay%3A127.0.0.1%3A1%3Amay"


class DestinationTests(BrowserCase):
    """``/admin/destinations``."""

    async def failing(self) -> Browser:
        """The administrator of a server whose relay host does not answer."""
        host = RelayHostSection("127.0.0.1", 1)
        browser = await self.admin(localserve=False, relay_host=host)
        for number in range(3):
            to = [{"Address": f"x{number}@d{number}.test"}]
            await API(browser.server).send(To=to, Subject="hello")
        await self.listed(browser, "backing off")
        return browser

    async def listed(self, browser: Browser, text: str) -> Page:
        """The list, once it says so."""
        for _ in range(600):
            page = await browser.open("/admin/destinations")
            if text in page.text:
                return page
            await soon(the_reactor)
        raise AssertionError(page.text)

    async def test_backing_off(self) -> None:
        """What it said, and what waits for which domain; its back-off is cleared."""
        browser = await self.failing()
        page = await browser.open("/admin/destinations")
        self.assertIn(PATH, page.links)
        self.assertIn("Of all 3 entries", page.text)
        for number in range(3):
            self.assertIn(f"/admin/queue?domain=d{number}.test", page.links)
        one = await browser.open(PATH)
        self.assertIn("3 of its host in a row", one.text)
        self.assertIn("by 127.0.0.1 port 1", one.text)
        answered = await browser.send(PATH, one, action="resume")
        self.assertEqual(answered.headers["location"], f"{PATH}?done=resumed")
        one = await browser.open(answered.headers["location"])
        self.assertIn("failures are forgotten", one.text)
        self.assertNotIn("in a row", one.text)

    async def test_tried_now(self) -> None:
        """All that waits for it, by a work."""
        browser = await self.failing()
        page = await browser.open(PATH)
        answered = await browser.send(PATH, page, action="retry")
        for _ in range(600):
            work = await browser.open(answered.headers["location"])
            if "data-every" not in work.answered.body.decode():
                break
            await soon(the_reactor)
        self.assertIn("Changed3", work.text.replace("\n", ""))
        await self.listed(browser, "backing off")

    async def test_unknown(self) -> None:
        """One that nothing is known of is idle; another action is none."""
        browser = await self.admin()
        page = await browser.open("/admin/destinations/mx%3Anowhere.test")
        self.assertIn("idle", page.text)
        answered = await browser.send("/admin/destinations/mx%3Ax", page, action="explode")
        self.assertEqual(answered.status, 404)
        answered = await browser.ask("GET", "/admin/destinations/x%0Ay")
        self.assertEqual(answered.status, 404)
        self.assertIn("Nothing waits.", (await browser.open("/admin/destinations")).text)
