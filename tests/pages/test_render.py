"""Pages of templates."""

from __future__ import annotations

from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.pages.render import Renderer, counted


class RendererTests(SynchronousTestCase):
    """Renderers of one process."""

    def test_each_has_its_clock(self) -> None:
        """What was compiled for one is filled by another as of its own time."""
        pages = []
        for now in (60.0, 7200.0):
            renderer = Renderer(partial(float, now))
            renderer.load()
            template = renderer._environment.from_string("{{ 0.0|time }}")
            pages.append(template.render())
            page = renderer.page("trouble.html", 404, title="<b>", text="x", home="/")
            assert isinstance(page.body, bytes)
            self.assertIn(b"&lt;b&gt;", page.body)
        self.assertIn("1 min ago", pages[0])
        self.assertIn("2 h ago", pages[1])

    def test_counted(self) -> None:
        """One, and several."""
        told = [counted(number, "report") for number in (0, 1, 1234)]
        self.assertEqual(told, ["0 reports", "1 report", "1,234 reports"])
