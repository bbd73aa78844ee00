"""A server whose applications take mail by HTTPS."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailrelay.directory.model import Account, Directory, Domain, Foreign, HandedOff, NoSuchUser
from mailrelay.handoff.settings import HandOffSettings
from mailrelay.smtp.address import Address
from mailrelay.testing.loopback import Loopback
from tests.cli.operated import soon
from tests.handoff.test_transport import OK, Application

APP, ONE = HandedOff("app"), HandedOff("one")


class ResolvingTests(TestCase):
    """Whose mail is whose."""

    def test_order(self) -> None:
        """An address's own endpoint, an account, its domain's endpoint, a catch-all."""
        account = Account(1, "user")
        directory = Directory(
            {
                "ours.test": Domain(1, "ours.test"),
                "off.test": Domain(2, "off.test", disabled=True),
            },
            {1: account},
            {("user", "ours.test"): 1, ("special", "ours.test"): 1, ("", "ours.test"): 1},
            handed_off={
                "@ours.test": APP,
                "special@ours.test": ONE,
                "@theirs.test": APP,
                "@off.test": APP,
            },
        )
        for text, expected in (
            ("user@ours.test", account),
            ("user+tag@ours.test", account),
            ("special+tag@ours.test", ONE),
            ("other@ours.test", APP),
            ("anybody@theirs.test", APP),
            ("anybody@foreign.test", Foreign()),
        ):
            self.assertEqual(directory.resolve(Address.parse(text)), expected, text)
        resolved = directory.resolve(Address.parse("a@off.test"))
        self.assertNotIsInstance(resolved, HandedOff | NoSuchUser)


class ServerTests(TestCase):
    """On loopback."""

    timeout = 60

    async def test_from_anybody(self) -> None:
        """A stranger's mail for it is taken and posted; other foreign domains stay foreign."""
        application = Application([OK, OK])
        url = f"http://127.0.0.1:{application.listen(self)}/in"
        endpoint = HandOffSettings(
            "app", url, domains=["app.test"], allowed_networks=["127.0.0.0/8"]
        )
        server = await Loopback.start(self, reactor, handoff=[endpoint])
        replies = await server.say(
            b"EHLO client.test",
            b"MAIL FROM:<joe@client.test>",
            b"RCPT TO:<bob@app.test>",
            b"RCPT TO:<ann+x@app.test>",
            b"RCPT TO:<bob@foreign.test>",
            b"DATA",
            b"Subject: hello\r\n\r\nhi\r\n.",
        )
        codes = [reply[:3] for reply in replies[2:]]
        self.assertEqual(codes, [b"250", b"250", b"250", b"550", b"354", b"250"])
        while len(application.requests) < 2:
            await soon(reactor)
        for recipient in (b"bob", b"ann+x"):
            field = b"X-Mailrelay-Rcpt-To: " + recipient + b"@app.test"
            self.assertTrue(any(field in request for request in application.requests), recipient)
