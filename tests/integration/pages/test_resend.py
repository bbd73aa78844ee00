"""Messages that are sent again, rescheduled and looked through on a page."""

from __future__ import annotations

from urllib.parse import quote

from tests.integration.pages.browser import Browser
from tests.integration.pages.test_sent import SentCase
from tests.integration.webapi.api import API
from tests.integration.world import OTHER_PASSWORD


class ResendTests(SentCase):
    """``/sent/{id}``."""

    async def test_failed_and_sent_again(self) -> None:
        """It fails, the report can be read, it is sent to somebody else, and delivered."""
        browser = await self.logged_in()
        path = await self.sent(browser, To=[{"Address": "x-permerror@localhost"}], Subject="bill")
        page = await self.state_is(browser, path, "Read the report")
        self.assertIn("failed", page.text)
        report = next(one for one in page.links if one.startswith("/mail/"))
        self.assertIn("could not be delivered", (await browser.open(report)).text.lower())
        answered = await browser.send(f"{path}/resend", page, to="joe@example.com")
        self.assertEqual(answered.status, 303, answered)
        new = answered.headers["location"].partition("?")[0]
        self.assertNotEqual(new, path)
        page = await browser.open(answered.headers["location"])
        self.assertIn("queued once more", page.text)
        page = await self.state_is(browser, new, "Delivered")
        self.assertIn("bill", page.text)
        self.assertIn("joe@example.com", page.text)
        copy = next(one for one in page.links if one.startswith("/mail/"))
        self.assertIn("bill", (await browser.open(copy)).text)

    async def test_sent_again_to_the_same(self) -> None:
        """Without addresses it goes to its own; what is no address is told of."""
        browser = await self.logged_in()
        path = await self.sent(browser, To=[{"Address": "x-temperror@localhost"}])
        page = await self.state_is(browser, path, "451")
        answered = await browser.send(f"{path}/resend", page, to="")
        self.assertEqual(answered.status, 303, answered)
        self.assertIn("x-temperror", (await browser.open(answered.headers["location"])).text)
        for to in ("x", "joe@example.com, nobody", "a@b.example\x00", "a@" + "x" * 300):
            answered = await browser.send(f"{path}/resend", page, to=to)
            self.assertIn(answered.status, (400, 422), to)

    async def test_not_others_to_send(self) -> None:
        """Another account cannot send it again, and nobody without the form's token."""
        browser = await self.logged_in()
        path = await self.sent(browser, To=[{"Address": "x-temperror@localhost"}])
        other = Browser(browser.server)
        await other.log_in("other@example.org", OTHER_PASSWORD)
        page = await other.open("/sent")
        answered = await other.send(f"{path}/resend", page, to="other@example.org")
        self.assertEqual(answered.status, 404)
        answered = await browser.ask("POST", f"{path}/resend", {"to": ""})
        self.assertEqual(answered.status, 403)

    async def test_rescheduled(self) -> None:
        """At a time, or so long from now."""
        browser = await self.logged_in()
        path = await self.sent(browser, To=[{"Address": "x-temperror@localhost"}])
        page = await self.state_is(browser, path, "451")
        answered = await browser.send(path, page, action="reschedule", at="in 3 days")
        self.assertEqual(answered.status, 303, answered)
        page = await self.state_is(browser, path, "next in 2 d")
        self.assertIn("another time", (await browser.open(answered.headers["location"])).text)
        for at in ("", "soon", "in 900 days", "9999-01-01"):
            answered = await browser.send(path, page, action="reschedule", at=at)
            self.assertEqual(answered.status, 422, at)

    async def test_filters(self) -> None:
        """Each leaves out what does not fit; a time that is none is told of."""
        browser = await self.logged_in()
        path = await self.sent(browser, Subject="The Bill", To=[{"Address": "joe@example.com"}])
        page = await self.state_is(browser, path, "Delivered")
        message_id = page.text.partition("Message-ID")[2].split()[0]
        for query, there in (
            ("subject=bill", 1),
            ("subject=other", 0),
            ("sender=user%40", 1),
            ("sender=nobody", 0),
            (f"message_id={quote(message_id.strip('<>'))}", 1),
            ("message_id=x", 0),
            ("since=2020-01-01T00:00", 1),
            ("until=2020-01-01T00:00", 0),
            ("state=delivered&recipient=example.com&subject=BILL", 1),
        ):
            links = (await browser.open(f"/sent?{query}")).links
            self.assertEqual(links.count(path), there, query)
        self.assertIn("not understood", (await browser.open("/sent?since=soon")).text)

    async def test_many_recipients(self) -> None:
        """They are paged and looked through; one's timeline stands alone."""
        browser = await self.logged_in()
        to = [{"Address": f"r{i}-temperror@localhost"} for i in range(60)]
        await API(browser.server).send(To=to)
        listed = await browser.open("/sent")
        path = next(one for one in listed.links if one.startswith("/sent/"))
        page = await self.state_is(browser, path, "60 waiting")
        entries = [one for one in page.links if "?entry=" in one]
        self.assertEqual(len(entries), 50)
        more = next(one for one in page.links if "after=" in one)
        rest = [one for one in (await browser.open(more)).links if "?entry=" in one]
        self.assertEqual(len(set(entries) | set(rest)), 60)
        found = await browser.open(f"{path}?recipient=R59-")
        self.assertEqual(len([one for one in found.links if "?entry=" in one]), 1)
        one = await browser.open(entries[0])
        self.assertEqual(one.text.count("Delayed"), 1)
        self.assertNotIn("r1-temperror", one.text)
        answered = await browser.send(path, page, action="hold", entry="")
        self.assertEqual(answered.status, 303, answered)
        self.assertIn("60 held", (await browser.open(path)).text)
        self.assertEqual((await browser.ask("GET", f"{path}?entry=1&steps=9")).status, 200)
