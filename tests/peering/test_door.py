"""By which ways peers come in."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.directory.model import Directory
from mailrelay.peering.door import Claim, Door
from mailrelay.web.body import Body
from mailrelay.web.headers import Headers
from mailrelay.web.request import Request, Response


class NoFailures:
    """Failures that nobody counts."""

    def allows(self, ip: str) -> bool:
        """See Failures."""
        return True

    def failed(self, ip: str) -> None:
        """See Failures."""


class WayTests(SynchronousTestCase):
    """Over https, or from where nobody listens in."""

    def test_ways(self) -> None:
        """In clear nobody is heard, but on loopback and behind a proxy of ours."""

        async def never(claim: Claim) -> Response:
            raise AssertionError

        for ip, is_secure, behind_proxy, status in (
            ("192.0.2.1", False, False, 403),
            ("192.0.2.1", True, False, 401),
            ("192.0.2.1", False, True, 401),
            ("127.0.0.1", False, False, 401),
            ("::1", False, False, 401),
        ):
            door = Door(Directory, lambda: 0.0, NoFailures(), behind_proxy)
            source: Body = Body(0, None)  # type: ignore[arg-type]
            request = Request("GET", "/relay/v1/ping", "", Headers(), ip, is_secure, source)
            answered = self.successResultOf(Deferred.fromCoroutine(door.answered(request, never)))
            self.assertEqual(answered.status, status, (ip, is_secure, behind_proxy))
