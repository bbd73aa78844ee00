"""Writing a message on a page."""

from __future__ import annotations

from tests.integration.pages.browser import Browser, BrowserCase, Page
from tests.integration.webapi.api import API


class WriteTests(BrowserCase):
    """``/write``."""

    async def sent(self, browser: Browser, **fields: str) -> Page:
        """The page that one is led to."""
        page = await browser.open("/write")
        fields = {"from": "user@example.org", "subject": "hi", "text": "a\r\nb", **fields}
        answered = await browser.send("/write", page, **fields)
        self.assertEqual(answered.status, 303, answered)
        return await browser.open(answered.headers["location"])

    async def test_sent(self) -> None:
        """It goes the way that all mail of the account goes."""
        browser = await self.logged_in()
        page = await self.sent(browser, to="user@example.org, you@example.org", subject="<b>")
        self.assertIn("you@example.org", page.text)
        one, _ = await self.arrived(API(browser.server), 2)
        shown = await browser.open(f"/mail/{one.id}")
        self.assertIn("<b>", shown.text)
        self.assertIn("a\nb", shown.text)
        (reply,) = [link for link in shown.links if link.startswith("/write?")]
        answer = await browser.open(reply)
        values = {given.get("name"): given.get("value") for _, given in reversed(answer.tags)}
        self.assertEqual((values["to"], values["subject"]), ("user@example.org", "Re: <b>"))

    async def test_refused(self) -> None:
        """What was written stays, with what is wrong."""
        browser = await self.logged_in()
        page = await browser.open("/write")
        for fields in ({"to": "nobody"}, {"to": ""}, {"to": "a@b.test", "from": "x@other.test"}):
            given = {"from": "user@example.org", "subject": "kept", "text": "x", **fields}
            answered = await browser.send("/write", page, **given)
            self.assertEqual(answered.status, 422, fields)
            self.assertIn(b'value="kept"', answered.body)
            self.assertIn(b'class="problem"', answered.body)

    async def test_simulated(self) -> None:
        """A localserve names addresses that fail, each with a button; another server does not."""
        browser = await self.logged_in()
        page = await browser.open("/write")
        self.assertIn("x-temperror@localhost", page.text)
        sent = await self.sent(browser, to="x-permerror@localhost")
        for _ in range(600):
            if "Failed" in sent.text:
                break
            sent = await browser.open((await browser.open("/sent")).links[-1])
        self.assertIn("failure with code 550", sent.text)


class ProductionTests(BrowserCase):
    """Not on a laptop."""

    async def test_nothing_is_simulated(self) -> None:
        """No address is special."""
        browser = await self.logged_in(localserve=False)
        self.assertNotIn("x-temperror", (await browser.open("/write")).text)
