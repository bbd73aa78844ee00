"""How the server is, on the administrator's page."""

from __future__ import annotations

from tests.integration.pages.browser import BrowserCase
from tests.integration.webapi.api import API


class HealthTests(BrowserCase):
    """``/admin/health``."""

    async def test_well(self) -> None:
        """Nothing is wrong; what was done is counted."""
        browser = await self.admin()
        server = browser.server.server
        await server._watch.sampler.turn()
        await API(browser.server).send(To=[{"Address": "x-temperror@localhost"}])
        for _ in range(600):
            if server.metrics.told().get("delayed"):
                break
            await browser.ask("GET", "/admin/health")
        now = server._watch.sampler.now
        server._watch.sampler.now = lambda: now() + 60
        await server._watch.sampler.turn()
        page = await browser.open("/admin/health")
        for text in ("Nothing needs you", "1 ready or waiting", "Committing", "An attempt"):
            self.assertIn(text, " ".join(page.text.split()))
        self.assertRegex(page.text, r"delayed 1, failed 0, accepted 1")

    async def test_trouble(self) -> None:
        """What is wrong is said, with where to look."""
        browser = await self.admin()
        server = browser.server.server
        server._space.is_short = True
        page = await browser.open("/admin/health")
        self.assertIn("No mail is accepted: no room on the disk", page.text)
        self.assertIn("The disk is nearly full", page.text)
