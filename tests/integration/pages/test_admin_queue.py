"""The queue on the administrator's pages."""

from __future__ import annotations

import html
import re
from typing import Any

from twisted.internet import reactor as the_reactor

from mailrelay.config.transports import FailSection, TransportSection
from mailrelay.control import queue_works
from mailrelay.pages import admin_queue
from mailrelay.service.works import Works
from mailrelay.testing.loopback import Loopback
from tests.cli.operated import soon
from tests.integration.pages.browser import Browser, BrowserCase, Page
from tests.integration.webapi.api import API


class QueueTests(BrowserCase):
    """``/admin/queue``."""

    async def queued(self, count: int = 2, **settings: Any) -> Browser:
        """The administrator, and ``count`` messages that are put off."""
        browser = await self.browser(**settings)
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
            "subject=n1": 1,
            "entry=1": 0,
            "age=over-1h": 0,
            "age=1h": 2,
            "transport=hub": 0,
            "message_id=%3Cx%3E": 0,
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

    async def test_chosen(self) -> None:
        """It is done at once, and said of each what became of it."""
        browser = await self.queued()
        page = await browser.open("/admin/queue")
        one, other = self.ids(page)
        answered = await browser.send("/admin/queue", page, id=one, action="hold")
        page = await browser.open(answered.headers["location"])
        self.assertIn("1 entry is held.", page.text)
        answered = await browser.send(
            "/admin/queue", page, id=[one, other, "999999"], action="release"
        )
        page = await browser.open(answered.headers["location"])
        self.assertIn("1 entry is released.", page.text)
        self.assertIn(f"entry {other}, not held", page.text)
        self.assertIn("entry 999999, not there any more", page.text)

    async def test_all_that_fit(self) -> None:
        """A work goes through them, shows how far it is, and what became of each."""
        browser = await self.queued(3)
        narrowed = await browser.open("/admin/queue?domain=localhost")
        ids = self.ids(narrowed)
        answered = await browser.send("/admin/queue", narrowed, id=ids[0], action="hold")
        answered = await browser.send("/admin/queue", narrowed, all="1", action="hold")
        work = answered.headers["location"]
        page = await self.ended(browser, work)
        self.assertIn("hold: to domain localhost", page.text)
        self.assertIn("2; 1 held: release it first", re.sub(r"\s+", " ", page.text))
        self.assertEqual(self.ids(page), ids)
        for outcome, expected in (("changed", ids[1:]), ("held", ids[:1]), ("gone", [])):
            page = await browser.open(f"{work}?outcome={outcome}")
            self.assertEqual(self.ids(page), expected)
        csv = await browser.ask("GET", f"{work}/results.csv")
        self.assertEqual(
            csv.body.decode().split(),
            ["entry,outcome", f"{ids[0]},held"] + [f"{id_},changed" for id_ in ids[1:]],
        )
        self.assertIn("hold: to domain localhost", (await browser.open("/admin/works")).text)
        held = await browser.open("/admin/queue?state=held")
        self.assertEqual(self.ids(held), ids)
        answered = await browser.send("/admin/queue", held, all="1", action="drop")
        await self.ended(browser, answered.headers["location"])
        self.assertIn("The queue is empty", (await browser.open("/admin/queue")).text)
        retired = await browser.open("/admin/queue?state=retired")
        self.assertEqual(retired.text.count("canceled"), 3)
        self.assertEqual(self.ids(await browser.open("/admin/queue?state=canceled")), ids)
        self.assertEqual(self.ids(await browser.open("/admin/queue?state=failed")), [])

    async def ended(self, browser: Browser, work: str) -> Page:
        """The page of a work that has ended."""
        for _ in range(600):
            page = await browser.open(work)
            if "data-every" not in page.answered.body.decode():
                return page
            await soon(the_reactor)
        raise AssertionError(page.text)

    async def test_works(self) -> None:
        """One that ended is not stopped; one that is not there is not shown."""
        browser = await self.queued(1)
        page = await browser.open("/admin/queue?domain=localhost")
        answered = await browser.send("/admin/queue", page, all="1", action="hold")
        work = answered.headers["location"]
        page = await self.ended(browser, work)
        answered = await browser.send(f"{work}/stop", page)
        self.assertIn("ended before", (await browser.open(answered.headers["location"])).text)
        for path in ("/admin/works/999", "/admin/works/999/results.csv", "/admin/works/x"):
            self.assertEqual((await browser.ask("GET", path)).status, 404, path)
        self.assertEqual((await browser.send("/admin/works/999/stop", page)).status, 404)

    async def test_after_a_restart(self) -> None:
        """A work that was begun before is done in the next life of the server."""
        browser = await self.queued(3)
        page = await browser.open("/admin/queue?domain=localhost")
        asleep = self.patch(Works, "wake", lambda works: None)
        answered = await browser.send("/admin/queue", page, all="1", action="hold")
        await browser.server.server.stopService()
        asleep.restore()
        self.patch(queue_works, "PIECE", 2)
        data_dir = browser.server.settings.data_dir
        server = await Loopback.start(self, the_reactor, data_dir=data_dir, localserve=True)
        later = Browser(server, browser.cookies)
        await self.ended(later, answered.headers["location"])
        held = await later.open("/admin/queue?state=held")
        self.assertEqual(self.ids(held), self.ids(page))

    async def test_transport(self) -> None:
        """What is sent by a transport that is chosen says so, and goes there."""
        fail = FailSection(smtp_code=554, smtp_message="never")
        browser = await self.queued(1, transport=[TransportSection("never", fail=fail)])
        page = await browser.open("/admin/queue")
        (id_,) = self.ids(page)
        answered = await browser.send("/admin/queue", page, id=id_, action="send_by", by="never")
        page = await browser.open(answered.headers["location"])
        self.assertIn("1 entry is to go by another way.", page.text)
        entry = await browser.open(f"/admin/queue/{id_}")
        self.assertIn("an operator chose the transport, never", entry.text)
        self.assertIn("transport never", entry.text)
        answered = await browser.send("/admin/queue", entry, back="entry", id=id_, action="retry")
        self.assertTrue(answered.headers["location"].startswith(f"/admin/queue/{id_}?"))
        for _ in range(600):
            entry = await browser.open(f"/admin/queue/{id_}")
            if "Failed" in entry.text:
                break
            await soon(the_reactor)
        self.assertIn("never", entry.text)
        answered = await browser.send("/admin/queue", entry, id=id_, action="send_by", by="x")
        self.assertEqual(answered.status, 404)

    async def test_pages(self) -> None:
        """Both ways through the queue, from its oldest or from its newest."""
        browser = await self.queued(3)
        ids = self.ids(await browser.open("/admin/queue"))
        self.patch(admin_queue, "PAGE", 2)
        for query, order in (("", ids), ("?sort=newest", ids[::-1])):
            first = await browser.open(f"/admin/queue{query}")
            self.assertIn("3 entries.", first.text)
            self.assertEqual(self.ids(first), order[:2])
            second = await browser.open(self.named(first, "Next"))
            self.assertEqual(self.ids(second), order[2:])
            self.assertEqual(self.named(second, "Next"), "")
            again = await browser.open(self.named(second, "Previous"))
            self.assertEqual(self.ids(again), order[:2])
            self.assertEqual(self.named(again, "Previous"), "")
            self.assertEqual(self.ids(await browser.open(self.named(again, "Next"))), order[2:])

    async def test_look_further(self) -> None:
        """When nothing fits in the part that was looked at, one can go on."""
        browser = await self.queued(3)
        ids = self.ids(await browser.open("/admin/queue"))
        self.patch(admin_queue, "LOOK", 2)
        page = await browser.open("/admin/queue?recipient=x2-")
        self.assertIn("None of the 2 that were looked at fits.", page.text)
        page = await browser.open(self.named(page, "Look further"))
        self.assertEqual(self.ids(page), ids[2:])
        self.assertEqual(self.named(page, "Look further"), "")

    def named(self, page: Page, text: str) -> str:
        """Where the link of that text leads."""
        body = page.answered.body.decode()
        found = re.search(rf'href="([^"]*)"[^>]*>{text}</a>', body)
        return html.unescape(found[1]) if found else ""

    async def test_nothing_named(self) -> None:
        """All of the queue is not changed by mistake."""
        browser = await self.queued(1)
        page = await browser.open("/admin/queue")
        for fields, status in (
            ({"action": "drop"}, 422),
            ({"action": "drop", "all": "1"}, 422),
            ({"action": "explode", "id": "1"}, 404),
            ({"action": "hold", "id": list(range(1, 102))}, 422),
            ({"action": "hold", "all": "1", "state": "retired", "domain": "x"}, 422),
            ({"action": "hold", "all": "1", "domain": "x\0y"}, 422),
        ):
            self.assertEqual((await browser.send("/admin/queue", page, **fields)).status, status)
        answered = await browser.ask("GET", "/admin/queue?recipient=a%00b")
        self.assertEqual(answered.status, 400)
        self.assertEqual(len(self.ids(await browser.open("/admin/queue"))), 1)
