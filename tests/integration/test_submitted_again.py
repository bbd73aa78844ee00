"""Submissions with an Idempotency-Key, sent again as a client does that lost its connection."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.trial.unittest import TestCase

from mailrelay.control.queue import EntryFilter
from mailrelay.testing.loopback import USER, Loopback

KEYED = b"From: user@example.org\r\nIdempotency-Key: order-7\r\nSubject: x\r\n\r\nhello\r\n"
LARGE = KEYED + b"a line of what is long\r\n" * 20_000


class SubmittedAgainTests(TestCase):
    """A server with one account."""

    timeout = 120

    async def submit(
        self, server: Loopback, content: bytes, *recipients: str, role: str = "submission"
    ) -> bytes:
        """What is answered to a message."""
        recipients = recipients or (USER,)
        if role == "submission":
            return await server.submit(content, *recipients)
        replies = await server.say(
            b"EHLO client.test",
            b"MAIL FROM:<%s>" % USER.encode(),
            *(b"RCPT TO:<%s>" % recipient.encode() for recipient in recipients),
            b"DATA",
            content + b".",
            role=role,
        )
        return replies[-1]

    async def messages(self, server: Loopback) -> int:
        """How many entries there are, or were."""
        control = server.control()
        try:
            living = await control.queue.find(EntryFilter())
            retired = await control.queue.find(EntryFilter(retired=True))
            return len({view.entry.id for view in (*living, *retired)})
        finally:
            control.close()

    async def test_again(self) -> None:
        """The same reply, and one message; small or in the spool."""
        for content in (KEYED, LARGE):
            server = await Loopback.start(self, reactor)
            first = await self.submit(server, content)
            self.assertTrue(first.startswith(b"250 2.0.0 queued as "), first)
            self.assertEqual(await self.submit(server, content), first)
            self.assertEqual(await self.messages(server), 1)

    async def test_at_once(self) -> None:
        """Of two at the same time one is the message, and both are told so."""
        server = await Loopback.start(self, reactor)
        both = [Deferred.fromCoroutine(self.submit(server, KEYED)) for _ in range(2)]
        answers = [answer for _, answer in await DeferredList(both)]
        self.assertEqual(len(set(answers)), 1, answers)
        self.assertEqual(await self.messages(server), 1)

    async def test_another_message(self) -> None:
        """Other content, or other recipients: refused, and the first stays as it is."""
        server = await Loopback.start(self, reactor, trusted_networks=())
        await self.submit(server, KEYED)
        for content, recipients in (
            (KEYED + b"more\r\n", [USER]),
            (LARGE, [USER]),
            (KEYED, [USER, "user+x@example.org"]),
        ):
            answer = await self.submit(server, content, *recipients)
            self.assertTrue(answer.startswith(b"554 5.6.0 another message"), answer)
        self.assertEqual(await self.messages(server), 1)

    async def test_bad_keys(self) -> None:
        """Two of them, an empty one, one with a blank, one that is too long, one too far down."""
        server = await Loopback.start(self, reactor)
        far = b"X-Filling: " + b"x" * 900 + b"\r\n"
        for fields in (
            b"Idempotency-Key: a\r\nIdempotency-Key: b\r\n",
            b"Idempotency-Key:\r\n",
            b"Idempotency-Key: a b\r\n",
            b"Idempotency-Key: " + b"a" * 256 + b"\r\n",
            far * 100 + b"Idempotency-Key: a\r\n",
        ):
            answer = await self.submit(
                server, b"From: user@example.org\r\n" + fields + b"\r\nx\r\n"
            )
            self.assertTrue(answer.startswith(b"554 5.6.0 Idempotency-Key is"), answer)
        self.assertEqual(await self.messages(server), 0)

    async def test_strangers_have_none(self) -> None:
        """The field means nothing in mail that comes from elsewhere."""
        server = await Loopback.start(self, reactor)
        first = await self.submit(server, KEYED, role="mx")
        self.assertNotEqual(await self.submit(server, KEYED, role="mx"), first)
        self.assertEqual(await self.messages(server), 2)
