"""Pages of reports."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.pages.door import Doors
from mailrelay.pages.reports import ReportPages
from mailrelay.reporting.model import Feedback


class OneTests(SynchronousTestCase):
    """``/admin/reports/ID``."""

    def test_made_by_worker(self) -> None:
        """A stranger's report may have a page of megabytes: it does not hold up the reactor."""
        running: list[tuple[Any, Any, Any]] = []
        made: Deferred[Any] = Deferred()

        def run(work: Any, *args: Any, **values: Any) -> Deferred[Any]:
            running.append((work, args, values))
            return made

        async def get(id_: int) -> tuple[Any, Feedback]:
            return None, Feedback("o", "r", "x.test", 0.0, "abuse")

        nothing: Any = None
        intake: Any = SimpleNamespace(executor=SimpleNamespace(run=run))
        doors = Doors(nothing, nothing, intake)
        reports: Any = SimpleNamespace(get=get)
        asked: Any = SimpleNamespace(id=1)
        pages = ReportPages(doors, reports, nothing, nothing)
        answering = Deferred.fromCoroutine(pages.one(asked))
        self.assertNoResult(answering)
        [(work, args, _)] = running
        self.assertEqual((work, args), (doors.page, (asked, "admin_report.html")))
        made.callback("the page")
        self.assertEqual(self.successResultOf(answering), "the page")
