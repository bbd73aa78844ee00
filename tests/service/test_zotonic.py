"""Zotonic sites as they are composed: a secret in a URL is for nobody on the way."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.service.zotonic import in_secret
from mailrelay.web.headers import Headers
from mailrelay.web.request import Request, Response


async def taken(request: Request) -> Response:
    """What a handler says that was asked."""
    return Response.text(200, "taken")


class SecretTests(SynchronousTestCase):
    """Requests by http."""

    def test_in_clear(self) -> None:
        """Only by https, from this machine, or from a proxy that speaks https."""
        for ip, is_secure, behind_proxy, expected in (
            ("192.0.2.1", False, False, 403),
            ("192.0.2.1", True, False, 200),
            ("192.0.2.1", False, True, 200),
            ("127.0.0.1", False, False, 200),
            ("::1", False, False, 200),
        ):
            body: Any = None
            request = Request("POST", "/", "s=x", Headers(), ip, is_secure, body)
            answers: list[Any] = []
            answering = in_secret(taken, behind_proxy)(request)
            Deferred.fromCoroutine(answering).addCallback(answers.append)  # type: ignore[arg-type]
            self.assertEqual(answers[0].status, expected, ip)
