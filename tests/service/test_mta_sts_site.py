"""The policy that our own domains serve: to whom, and which."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.control.mta_sts import mta_sts_id, served_policy
from mailrelay.directory.model import Directory, Domain, MTASTSMode
from mailrelay.mailauth.mta_sts import parse_policy
from mailrelay.service.mta_sts_site import mta_sts_routes
from mailrelay.web.headers import Headers
from mailrelay.web.request import Request, Response

HOSTNAME = "MX.example.org"
DOMAINS = {
    "a.test": Domain(1, "a.test", mta_sts=MTASTSMode.ENFORCE, mta_sts_changed_at=1.0),
    "b.test": Domain(2, "b.test", mta_sts=MTASTSMode.TESTING),
    "gone.test": Domain(3, "gone.test", mta_sts_changed_at=2.0),
    "never.test": Domain(4, "never.test"),
}


class SiteTests(SynchronousTestCase):
    """What is answered to whom."""

    def ask(self, host: str | None) -> Response:
        """The answer to a request with this Host field."""
        [route] = mta_sts_routes(HOSTNAME, lambda: Directory(DOMAINS))
        headers = Headers([("host", host)] if host is not None else [])
        body: Any = None
        request = Request("GET", route.path, "", headers, "192.0.2.1", True, body)

        async def answer() -> Response:
            return await route.handle(request)

        return self.successResultOf(Deferred.fromCoroutine(answer()))

    def test_modes(self) -> None:
        """The mode that is set; our host; and that one was withdrawn."""
        for host, mode, mx in (
            ("mta-sts.a.test", "enforce", ("mx.example.org",)),
            ("MTA-STS.A.test.:8443", "enforce", ("mx.example.org",)),
            ("mta-sts.b.test", "testing", ("mx.example.org",)),
            ("mta-sts.gone.test", "none", ()),
        ):
            response = self.ask(host)
            self.assertEqual(response.status, 200, host)
            self.assertTrue(response.content_type.startswith("text/plain"))
            assert isinstance(response.body, bytes)
            policy = parse_policy(response.body)
            self.assertEqual((policy.mode, policy.hosts), (mode, mx))

    def test_nobody(self) -> None:
        """Other hosts have none, nor have domains that never had one."""
        for host in (
            None,
            "",
            "a.test",
            "mta-sts.never.test",
            "mta-sts.",
            "mta-sts.c.test",
            "x.mta-sts.a.test",
            "mta-sts.mta-sts.a.test",
            "[::1]:443",
        ):
            self.assertEqual(self.ask(host).status, 404, host)

    def test_id(self) -> None:
        """Another policy has another id; it is what a record may have."""
        ids = {mta_sts_id(domain, [HOSTNAME]) for domain in DOMAINS.values()}
        ids.add(mta_sts_id(DOMAINS["a.test"], ["other.test"]))
        self.assertEqual(len(ids), 5)
        self.assertIn("", ids)
        for one in ids - {""}:
            self.assertRegex(one, r"^[a-z0-9]{1,32}$")
        self.assertIsNone(served_policy(DOMAINS["never.test"], [HOSTNAME]))
