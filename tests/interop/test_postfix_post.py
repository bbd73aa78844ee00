"""Debian's Postfix, which hands mail to an HTTPS endpoint by mailrelay-post."""

from __future__ import annotations

import shutil
from typing import Any

from tests.handoff.endpoint import OK, Answer, HTTPEndpoint, Request, closes, status
from tests.interop.mailpost import TOKEN, MailpostCase
from tests.interop.programs import until

CONTENT = b"From: a@sender.test\r\nSubject: hello\r\n\r\n.a dot\r\n..two\r\ncaf\xc3\xa9\r\n"
BODY = b"\n\n.a dot\n..two\ncaf\xc3\xa9\n"


class PostTests(MailpostCase):
    """The checklist of docs/handoff.md, with whatever may happen to the endpoint."""

    def endpoint(self, *answers: Answer, port: int = 0) -> HTTPEndpoint:
        """One that is there until the test ends."""
        endpoint = HTTPEndpoint(*answers, tls=self.tls, port=port)
        self.addCleanup(endpoint.close)
        return endpoint

    def assert_same(self, requests: list[Request]) -> None:
        """One message, tried again."""
        self.assertEqual(len({request.one(b"Idempotency-Key") for request in requests}), 1)
        self.assertEqual(len({request.body for request in requests}), 1)
        self.assertEqual(len({request.one(b"X-Mailrelay-Id") for request in requests}), 1)

    async def test_up(self) -> None:
        """A message for two, and one of the null sender: each recipient's own request."""
        endpoint = self.endpoint(OK)
        postfix = await self.postfix(endpoint.url())
        await self.send(
            postfix.port, CONTENT, "b@example.org", '"c d"@example.org', sender="a@a.test"
        )
        await self.delivered(postfix, 2)
        await self.send(postfix.port, CONTENT, "b@example.org", sender="")
        await self.delivered(postfix, 3)
        told: list[Any] = []
        for request in endpoint.requests:
            self.assertEqual(request.one(b"Authorization"), b"Bearer " + TOKEN.encode())
            self.assertTrue(request.body.endswith(BODY), request.body)
            self.assertTrue(request.body.startswith(b"Return-Path: <"))
            names = (b"X-Mailrelay-Mail-From", b"X-Mailrelay-Rcpt-To")
            told.append(tuple(request.one(name) for name in names))
        known = [(b"a@a.test", b"b@example.org"), (b"a@a.test", b'"c%20d"@example.org')]
        self.assertCountEqual(told, [*known, (b"", b"b@example.org")])
        self.assertEqual(len({one.one(b"Idempotency-Key") for one in endpoint.requests}), 3)

    async def test_down(self) -> None:
        """Nobody listens: deferred, and delivered once somebody does."""
        endpoint = self.endpoint(OK)
        endpoint.close()
        postfix = await self.postfix(endpoint.url())
        await self.send(postfix.port, CONTENT, "b@example.org")
        await until(lambda: "dsn=4.4.1, status=deferred" in postfix.log)
        again = self.endpoint(OK, port=endpoint.port)
        await self.delivered(postfix)
        self.assertEqual(len(again.requests), 1)

    async def deferred_then_delivered(self, trouble: Answer, said: str, options: str) -> None:
        """The endpoint is in trouble twice, then well."""
        endpoint = self.endpoint(trouble)
        postfix = await self.postfix(endpoint.url(), options)
        await self.send(postfix.port, CONTENT, "b@example.org")
        await until(lambda: postfix.log.count(said) >= 2)
        endpoint.answer_with(OK)
        await self.delivered(postfix)
        self.assertGreaterEqual(len(endpoint.requests), 3)
        self.assert_same(endpoint.requests)
        self.assertNotIn(TOKEN, postfix.log)

    async def test_slow(self) -> None:
        """It does not answer in time."""
        endpoint = self.endpoint(OK)
        said = "dsn=4.4.1, status=deferred (no answer in time"
        await self.deferred_then_delivered(endpoint.silence, said, "--timeout=1")

    async def test_wrong_token(self) -> None:
        """401 is nothing that a sender should hear of."""
        said = "dsn=4.7.8, status=deferred"
        await self.deferred_then_delivered(status(401), said, "--permanent=400,422")

    async def test_killed_after_its_commit(self) -> None:
        """It has the message and does not say so: the same key comes again, to know it by."""
        said = "dsn=4.4.2, status=deferred"
        await self.deferred_then_delivered(closes, said, "--require-receipt")

    async def test_misconfigured(self) -> None:
        """Whatever the program says before it has read a message that fills the pipe is heard."""
        self.token.unlink()
        endpoint = self.endpoint(OK)
        postfix = await self.postfix(endpoint.url())
        await self.send(postfix.port, CONTENT + b"a line\r\n" * 200_000, "b@example.org")
        await until(lambda: "status=" in postfix.log)
        said = f"dsn=4.3.5, status=deferred (mailrelay-post: {self.token} cannot be read"
        self.assertIn(said, postfix.log)
        self.token.write_text(TOKEN)
        shutil.chown(self.token, "root", "nogroup")
        self.token.chmod(0o640)
        await self.delivered(postfix)

    async def test_native_422(self) -> None:
        """Only what the endpoint itself returns goes back to the sender."""
        endpoint = self.endpoint(status(422, b"5.1.1 no such alias"))
        postfix = await self.postfix(endpoint.url())
        await self.send(postfix.port, CONTENT, "b@example.org", sender="")
        await until(lambda: "status=bounced" in postfix.log)
        self.assertIn("dsn=5.1.1, status=bounced (no such alias", postfix.log)
        self.assertEqual(len(endpoint.requests), 1)

    async def test_soft_bounce(self) -> None:
        """A program that does not even start ends with 1: with soft_bounce that returns nothing."""
        self.program.write_text("#!/bin/sh\nexit 1\n")
        endpoint = self.endpoint(OK)
        postfix = await self.postfix(endpoint.url(), overrides="-o soft_bounce=yes")
        await self.send(postfix.port, CONTENT, "b@example.org")
        await until(lambda: "status=" in postfix.log)
        self.assertIn("status=SOFTBOUNCE", postfix.log)
