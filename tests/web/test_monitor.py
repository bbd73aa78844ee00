"""/healthz and /metrics."""

from __future__ import annotations

from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.web.monitor import INDEX, METRICS_TYPE, Health, Monitor
from tests.web.wire import Wire


async def figures() -> bytes:
    """What Prometheus reads."""
    return b"figure 1\n"


class MonitorTests(SynchronousTestCase):
    """The pages for monitoring."""

    def test_health(self) -> None:
        """200 or 503, with the reason."""
        for well, status in ((True, 200), (False, 503)):
            wire = Wire(Monitor(partial(Health, well, "why"), figures).routes())
            (reply,) = wire.say(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            self.assertEqual((reply.status, reply.body), (status, b"why\n"))

    def test_metrics(self) -> None:
        """The figures, with the type that Prometheus wants."""
        wire = Wire(Monitor(lambda: Health(True, ""), figures).routes())
        (reply,) = wire.say(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual((reply.body, reply.headers["content-type"]), (b"figure 1\n", METRICS_TYPE))

    def test_index(self) -> None:
        """A page that says where one is, and no more."""
        (reply,) = Wire([INDEX]).say(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(reply.body, b"mailrelay\n")
