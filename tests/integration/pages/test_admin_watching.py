"""Certificates, lists and reports, on the administrator's pages."""

from __future__ import annotations

import time

from attrs import evolve

from mailrelay.control.listings import Listing
from mailrelay.policy.blocklists import DNSBLSettings
from mailrelay.reporting.dmarc_read import read_dmarc
from mailrelay.reporting.model import Feedback, Kind, Report, TLSReport
from mailrelay.reporting.store import DAY, Received
from mailrelay.reporting.tls_read import read_tls
from mailrelay.storage.listings import DatabaseListings
from mailrelay.storage.reports import DatabaseReports
from tests.integration.pages.browser import Browser, BrowserCase, Page
from tests.reporting.samples import OFFICE, TLS, WEBMAIL

MARK = '<b id="mark">'


class CertificateTests(BrowserCase):
    """``/admin/certificates``."""

    async def test_shown(self) -> None:
        """What the listeners show, and that nothing can be ordered without ``[acme]``."""
        browser = await self.admin()
        page = await browser.open("/admin/certificates")
        for text in ("localhost", "in use", "not known to this system", "3 1 1 "):
            self.assertIn(text, page.text)
        self.assertNotIn("Order it again", page.text)
        answered = await browser.send("/admin/certificates", page, name="localhost")
        self.assertEqual(answered.status, 422)
        self.assertIn("set [acme]", Page(answered).text)


class ListTests(BrowserCase):
    """``/admin/lists``."""

    async def test_none(self) -> None:
        """It says how to have some watched."""
        page = await (await self.admin()).open("/admin/lists")
        self.assertIn("[dnsbl] watched", page.text)

    async def test_shown(self) -> None:
        """What is wrong first; of lists that are watched no more, nothing."""
        zones = ("bl.example", "other.example", "new.example")
        browser = await self.admin(dnsbl=DNSBLSettings(watched=zones))
        now = browser.server.server.stores.database
        fine = Listing("other.example", "192.0.2.1", None, "", 5.0)
        listed = Listing("bl.example", "192.0.2.1", 3.0, f"127.0.0.2 {MARK}", 5.0)
        gone = evolve(listed, zone="gone.example")
        await DatabaseListings(now).put([fine, listed, gone], [*zones, "gone.example"])
        page = await browser.open("/admin/lists")
        self.assertIn(f"127.0.0.2 {MARK}", page.text)
        self.assertLess(page.text.index("bl.example"), page.text.index("other.example"))
        self.assertIn("Not asked yet: new.example", page.text)
        self.assertNotIn("gone.example", page.text)


class ReportTests(BrowserCase):
    """``/admin/reports``."""

    async def reported(self, *reports: Report) -> Browser:
        """The administrator of a server that got ``reports`` an hour ago."""
        browser = await self.admin()
        stores = browser.server.server.stores
        records = DatabaseReports(stores.database)
        for number, report in enumerate(reports):
            kind = Kind.DMARC
            if isinstance(report, Feedback):
                kind = Kind.FEEDBACK
            elif isinstance(report, TLSReport):
                kind = Kind.TLS
            source, at = f"{MARK}{number}.example", browser.server.server._s.now() - 3600
            await records.add(Received(kind, source, number == 0, at, None, report))
        return browser

    def links(self, page: Page) -> list[str]:
        """To reports that are listed."""
        return [one for one in page.links if one.rpartition("/")[2].isdecimal()]

    async def test_none(self) -> None:
        """Each page says why it is empty."""
        browser = await self.admin()
        for path, text in (
            ("/admin/reports", "No report came"),
            ("/admin/reports/summary", "Name a domain"),
            ("/admin/reports/summary?domain=none.example", "No report about none.example"),
            ("/admin/reports/sent", "once a day"),
        ):
            self.assertIn(text, (await browser.open(path)).text)
        self.assertEqual((await browser.ask("GET", "/admin/reports/7")).status, 404)
        answered = await browser.ask("GET", "/admin/reports?domain=a..b")
        self.assertEqual(answered.status, 422)

    async def test_each_kind(self) -> None:
        """DMARC, TLS and a complaint: listed, narrowed, whole."""
        complaint = Feedback("loop.example", "f1", "example.org", DAY, "abuse", MARK)
        browser = await self.reported(read_dmarc([WEBMAIL]), read_tls([TLS]), complaint)
        page = await browser.open("/admin/reports")
        self.assertEqual(len(self.links(page)), 3)
        said = ""
        for path in self.links(page):
            said += (await browser.open(path)).text
        for text in ("p=quarantine", "192.0.2.10", "certificate-expired", f"abuse, by {MARK}"):
            self.assertIn(text, said)
        for query, count in (
            ("kind=dmarc", 1),
            ("kind=tls", 1),
            ("kind=feedback", 1),
            ("kind=nonsense", 3),
            ("verified=1", 1),
            ("domain=example.net", 0),
            ("days=7", 3),
            (f"before={self.links(page)[-1].rpartition('/')[2]}", 0),
        ):
            found = self.links(await browser.open(f"/admin/reports?{query}"))
            self.assertEqual(len(found), count, query)

    async def test_days_that_are_none(self) -> None:
        """A report of a day long ago, or to come, makes no picture of all between."""
        long_ago = evolve(read_dmarc([WEBMAIL]), began_at=5.0, report_id="1")
        to_come = evolve(long_ago, began_at=4e9, report_id="2")
        browser = await self.reported(long_ago, to_come)
        page = await browser.open("/admin/reports/summary?domain=example.org")
        self.assertIn("2 reports", page.text)
        self.assertNotIn("Messages in its name", page.text)

    async def test_summary(self) -> None:
        """By source, of all reports of a domain."""
        browser = await self.reported(
            evolve(read_dmarc([WEBMAIL]), began_at=time.time() - DAY),
            read_dmarc([OFFICE]),
            evolve(read_tls([TLS]), began_at=time.time() - DAY),
        )
        page = await browser.open("/admin/reports/summary?domain=example.org&days=365")
        self.assertIn("3 reports", page.text)
        self.assertIn("192.0.2.10", page.text)
        self.assertIn("certificate-expired", page.text)
        self.assertIn("Messages in its name, by DMARC", page.text)
        self.assertIn("Sessions with its hosts, by TLS", page.text)
        one = await browser.open("/admin/reports/summary?domain=example.org&verified=1")
        self.assertIn("1 report,", one.text)
