"""A message's whole way on loopback: in by SMTP, through the queue, into a mailbox."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailrelay.control.mailbox import MessageFilter
from mailrelay.testing.loopback import Loopback


class LoopbackTests(TestCase):
    """The main job, small."""

    timeout = 60

    async def test_recipient_before_sender(self) -> None:
        """A client that skips MAIL is told so, on the wire."""
        server = await Loopback.start(self, reactor)
        replies = await server.say(b"EHLO client.test", b"RCPT TO:<a@example.org>")
        self.assertEqual(replies[2][:9], b"503 5.5.1")

    async def test_message_reaches_the_mailbox(self) -> None:
        """What is answered 250 is in the recipient's mailbox, with our trace on top."""
        server = await Loopback.start(self, reactor)
        replies = await server.say(
            b"EHLO client.test",
            b"MAIL FROM:<a@client.test>",
            b"RCPT TO:<user+tag@example.org>",
            b"DATA",
            b"Subject: hello\r\n\r\n..dots\r\n.",
        )
        self.assertEqual(replies[-1][:9], b"250 2.0.0")
        control = server.control()
        self.addCleanup(control.close)
        found: list[Any] = []
        while not found:
            await _soon()
            found = list(await control.messages.find(MessageFilter()))
        [(account, message)] = found
        content = await control.messages.content(message.id)
        self.assertEqual((account, message.recipient), ("user", "user+tag@example.org"))
        self.assertTrue(content.startswith(b"Return-Path: <a@client.test>\r\nDelivered-To: user+"))
        self.assertTrue(content.endswith(b"Subject: hello\r\n\r\n.dots\r\n"))


def _soon() -> Deferred[None]:
    waited: Deferred[None] = Deferred()
    reactor.callLater(0.02, waited.callback, None)
    return waited
