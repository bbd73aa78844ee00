"""The configuration on the administrator's pages."""

from __future__ import annotations

from attrs import evolve

from mailrelay.acceptance.rspamd import RspamdSettings
from mailrelay.config.settings import QueueSection
from mailrelay.service.fixed import Origin
from tests.integration.pages.browser import BrowserCase

PLANTED = "pl4nted-s3cret"


class ConfigTests(BrowserCase):
    """``/admin/config``."""

    async def test_only_the_administrator(self) -> None:
        """An account's session does not open it."""
        browser = await self.logged_in()
        self.assertEqual((await browser.ask("GET", "/admin/config")).status, 303)

    async def test_running(self) -> None:
        """What the server runs with now, a reload included; no secret."""
        browser = await self.admin(rspamd=RspamdSettings(password=PLANTED))
        page = await browser.open("/admin/config")
        self.assertIn("it has no file", page.text)
        self.assertIn("set, not shown", page.text)
        self.assertNotIn(PLANTED, page.answered.body.decode())
        self.assertIn("[greylisting]", page.text)
        only = await browser.open("/admin/config?only=set")
        self.assertNotIn("[greylisting]", only.text)
        self.assertIn("[rspamd]", only.text)
        server = browser.server.server
        server.origin = Origin("/etc/mailrelay.toml", frozenset({"MAILRELAY_QUEUE_WINDOW"}))
        server.reload(evolve(browser.server.settings, queue=QueueSection(window=777)))
        only = await browser.open("/admin/config?only=set")
        for text in ("/etc/mailrelay.toml", "777", "from the environment", "needs a restart"):
            self.assertIn(text, only.text)
