"""A pytest plugin: a skipped test fails the run, so that a missing tool cannot hide.

Only a test whose reason names `MAILRELAY_TEST_LONG` may be skipped: it is one that
`script/test --long` runs.
"""

import os
from typing import Any

import pytest

ALLOWED = "MAILRELAY_TEST_LONG"
HIDDEN = 9
"""The exit status of a run with skips, whatever else failed: of those there is no second chance."""


class NoSkips:
    """Collects skips here and from the workers of pytest-xdist."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.skips: dict[str, str] = {}

    def note(self, report: Any) -> None:
        """Remember the report if it is of a skip that hides something."""
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        if os.environ.get(ALLOWED) or ALLOWED not in str(reason):
            self.skips[report.nodeid] = str(reason)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """See a test skipped."""
        self.note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """See a whole module skipped."""
        self.note(report)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Take over what a worker saw; it does not send the modules it skipped."""
        self.skips.update(getattr(node, "workeroutput", {}).get("hidden_skips", {}))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the run, or hand what was seen to the controller."""
        worker_output: dict[str, Any] | None = getattr(self.config, "workeroutput", None)
        if worker_output is not None:
            worker_output["hidden_skips"] = self.skips
        elif self.skips:
            session.exitstatus = HIDDEN

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say which."""
        if not self.skips:
            return
        terminalreporter.section("skipped tests fail the run", red=True)
        for nodeid, reason in sorted(self.skips.items()):
            terminalreporter.line(f"{nodeid}: {reason}")


def pytest_configure(config: pytest.Config) -> None:
    """Join the run."""
    config.pluginmanager.register(NoSkips(config), "mailrelay-no-skips")
