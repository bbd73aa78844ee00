"""Domains on the administrator's pages."""

from __future__ import annotations

from typing import Any

from mailrelay.config.settings import DNSSection
from mailrelay.net.lookup import Lookups
from mailrelay.testing.fake_dns import FakeDNS
from tests.integration.pages.browser import Browser, BrowserCase, Page

NEW = "/admin/domains/new.test"
DNS = DNSSection(addresses=("192.0.2.25",))


class DomainsTests(BrowserCase):
    """``/admin/domains``."""

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

    async def with_new(self, **settings: Any) -> Browser:
        """The administrator, who added a domain."""
        browser = await self.admin(dns=DNS, **settings)
        page = await self.changed(browser, "/admin/domains", name="NEW.test", separator="-")
        self.assertIn("The domain is added", page.text)
        return browser

    async def test_only_the_administrator(self) -> None:
        """An account's session opens none of it."""
        browser = await self.logged_in()
        for path in ("/admin/domains", "/admin/domains/example.org", f"{NEW}/zone"):
            self.assertEqual((await browser.ask("GET", path)).status, 303, path)
        for path in ("/admin/domains", "/admin/domains/example.org", f"{NEW}/check"):
            answered = await browser.ask("POST", path, {"action": "remove", "name": "x"})
            self.assertEqual(answered.status, 401, path)

    async def test_list(self) -> None:
        """By name, as people write them, with what is in each."""
        browser = await self.admin()
        page = await browser.open("/admin/domains")
        for text in ("bücher.example", "not signed", "switched off", "example.org"):
            self.assertIn(text, page.text)
        page = await browser.open("/admin/domains?q=plain")
        self.assertNotIn("example.org", page.text)
        self.assertIn("plain.example", page.text)
        for name, said in {"plain.example": "exists", "-": "is no domain"}.items():
            text = await self.refused(browser, "/admin/domains", name=name, separator="+")
            self.assertIn(said, text)

    async def test_set_and_removed(self) -> None:
        """Its settings; it goes once it is empty."""
        browser = await self.with_new()
        fields = {"separator": "", "dmarc": "reject", "mta_sts": "testing", "disabled": "1"}
        page = await self.changed(browser, NEW, action="set", **fields)
        self.assertIn("v=DMARC1; p=reject", page.text)
        self.assertIn("v=STSv1", page.text)
        [row] = [
            one
            for one in browser.server.server.directory.domains.values()
            if one.name == "new.test"
        ]
        self.assertEqual((row.separator, row.disabled), ("", True))
        await self.changed(browser, NEW, action="set", **fields)
        [same] = [
            one
            for one in browser.server.server.directory.domains.values()
            if one.name == "new.test"
        ]
        self.assertEqual(row, same)
        text = await self.refused(browser, NEW, action="set", **{**fields, "separator": "xx"})
        self.assertIn("is no separator", text)
        text = await self.refused(browser, "/admin/domains/plain.example", action="remove")
        self.assertIn("Domain plain.example has 1 addresses: remove them first.", text)
        self.assertIn("neither addresses nor aliases", text)
        page = await self.changed(browser, NEW, action="remove")
        self.assertIn("The domain is removed.", page.text)
        for path in (NEW, f"{NEW}/zone"):
            self.assertEqual((await browser.ask("GET", path)).status, 404)
        for path in (NEW, f"{NEW}/check"):
            answered = await browser.send(path, page, action="set")
            self.assertEqual(answered.status, 404)

    async def test_records(self) -> None:
        """What to publish, and the same as a file; a localserve looks nothing up."""
        browser = await self.with_new()
        page = await browser.open(NEW)
        self.assertIn('"v=spf1 mx ~all"', page.text)
        self.assertIn("A localserve looks nothing up", page.text)
        answered = await browser.ask("GET", f"{NEW}/zone")
        self.assertIn("new.test. 3600 IN MX 10", answered.body.decode())
        self.assertIn("attachment", answered.headers["content-disposition"])
        answered = await browser.send(f"{NEW}/check", page)
        self.assertEqual(answered.status, 422)

    async def test_keys(self) -> None:
        """Made, used, followed by the next, forgotten; a private one is never shown."""
        browser = await self.with_new()
        page = await self.changed(browser, NEW, action="dkim-add", kind="ed25519", selector="one")
        self.assertIn("waits for its record", page.text)
        self.assertIn("one._domainkey.new.test", page.text)
        text = await self.refused(browser, NEW, action="dkim-add", kind="rsa")
        self.assertIn("keys that wait for their records", text)
        page = await self.changed(browser, NEW, action="dkim-activate")
        self.assertIn("signs", page.text)
        self.assertIn("signed", (await browser.open("/admin/domains?q=new")).text)
        page = await self.changed(browser, NEW, action="dkim-rotate")
        self.assertEqual(page.text.count("ed25519-sha256"), 2)
        self.assertNotIn("PRIVATE", page.answered.body.decode())
        page = await self.changed(browser, NEW, action="dkim-remove", selector="one")
        self.assertNotIn("one._domainkey", page.text)
        text = await self.refused(browser, NEW, action="dkim-remove", selector="one")
        self.assertIn("has no key with selector one", text)

    async def test_checked(self) -> None:
        """What DNS says is compared with what it should say, while nobody waits for it."""
        dns: Lookups = FakeDNS({"new.test": {"MX": ["10 other.test."]}})
        browser = await self.with_new(localserve=False, lookups=dns)
        self.assertIn("none since the start", (await browser.open(NEW)).text)
        page = await browser.open(NEW)
        answered = await browser.send(f"{NEW}/check", page)
        self.assertEqual((answered.status, answered.headers["location"]), (303, NEW))
        for _ in range(600):
            page = await browser.open(NEW)
            if "not all is well" in page.text:
                break
            self.assertTrue(any(attrs.get("http-equiv") == "refresh" for _, attrs in page.tags))
        self.assertIn("10 other.test.", page.text)
        self.assertIn("missing", page.text)
        self.assertFalse(any(attrs.get("http-equiv") == "refresh" for _, attrs in page.tags))
        self.assertIn("not all is well", (await browser.open("/admin/domains?q=new")).text)
