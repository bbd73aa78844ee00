"""The audit log on the administrator's pages."""

from __future__ import annotations

from typing import Any

from mailrelay.pages.admin_audit import PAGE
from mailrelay.storage.directory import record_audit
from tests.integration.pages.browser import BrowserCase


class AuditTests(BrowserCase):
    """``/admin/audit``."""

    async def test_only_the_administrator(self) -> None:
        """An account's session does not open it."""
        browser = await self.logged_in()
        self.assertEqual((await browser.ask("GET", "/admin/audit")).status, 303)

    async def test_list(self) -> None:
        """What was done before is there, narrowed by what is typed in; nothing of it is HTML."""
        browser = await self.admin()
        stores = browser.server.server.stores
        page = await browser.open("/admin/audit")
        self.assertIn("domain add", page.text)

        def work(connection: Any) -> None:
            for number in range(PAGE):
                subject = f"<b>{number}</b>"
                record_audit(connection, 1.0, "cli:me", "queue retry", subject)

        await stores.database.write(work)
        page = await browser.open("/admin/audit?action=queue")
        self.assertEqual(page.text.count("cli:me"), PAGE)
        self.assertIn(f"<b>{PAGE - 1}</b>", page.text)
        self.assertNotIn("domain add", page.text)
        [older] = [one for one in page.links if "before=" in one]
        self.assertIn("Nothing fits", (await browser.open(older)).text)
        for query, count in {
            "subject=<b>7<": 1,
            "actor=CLI:ME": PAGE,
            "actor=cli:you": 0,
            "actor=cli:me&since=day": 0,
            "actor=cli:me&since=never": PAGE,
            "actor=cli:me&before=x": PAGE,
        }.items():
            found = await browser.open(f"/admin/audit?{query}")
            self.assertEqual(found.text.count("<b>"), count, query)
