"""What a running server takes of a configuration that is read again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from attrs import evolve, fields
from twisted.internet import reactor
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

import mailrelay
from mailrelay.config.settings import LogSection, Settings
from mailrelay.policy.limits import Limits, ListenerLimits
from mailrelay.service.fixed import FIXED
from mailrelay.testing.loopback import Loopback

LOOPING = b"Received: from a by b; Sat, 21 Nov 2026 12:00:00 +0000\r\n" * 3


class ReloadTests(TestCase):
    """Server.reload."""

    timeout = 60

    def setUp(self) -> None:
        """Keep what is logged."""
        self.told: list[LogEvent] = []
        observer: Any = self.told.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def needs_restart(self) -> set[str]:
        """The settings that were said to need one."""
        warned = [e for e in self.told if "restart" in str(e.get("log_format"))]
        return {str(e["name"]) for e in warned}

    def test_every_setting(self) -> None:
        """A new setting is taken at SIGHUP or needs a restart; the page says which."""
        page = (Path(mailrelay.__file__).parent.parent / "docs/configuration.md").read_text()
        told = page.partition("At once:")[2].partition("A change to anything else")[0]
        words = set(re.findall(r"\w+", "".join(re.findall("`.*?`", told))))
        taken = {field.name for field in fields(Settings)} - set(FIXED)
        self.assertEqual(words - {"file"}, taken)

    async def test_what_needs_a_restart(self) -> None:
        """Each such setting that changed is named, those that did not are not."""
        server = await Loopback.start(self, reactor)
        for name in ("allow_root", "localserve"):
            self.assertIn(name, FIXED)
            self.told.clear()
            other: Any = {name: not getattr(server.settings, name)}
            server.server.reload(evolve(server.settings, **other))
            self.assertEqual(self.needs_restart(), {name})

    async def test_place_of_the_log_needs_one(self) -> None:
        """The log's file is opened at the start only."""
        server = await Loopback.start(self, reactor)
        log = LogSection(file="/elsewhere", mail_log="")
        server.server.reload(evolve(server.settings, log=log))
        self.assertEqual(self.needs_restart(), {"log.file"})

    async def test_limits(self) -> None:
        """General limits change; a listener's own stay before them."""
        server = await Loopback.start(self, reactor)
        mx, *others = server.settings.listener
        mx = evolve(mx, limits=ListenerLimits(recipients=1))
        settings = evolve(server.settings, listener=[mx, *others])
        server.server._settings = settings
        server.server.reload(evolve(settings, limits=Limits(message_bytes=5000, recipients=2)))
        replies = await server.say(
            b"EHLO client.test",
            b"MAIL FROM:<a@client.test>",
            b"RCPT TO:<user@example.org>",
            b"RCPT TO:<user@example.org>",
        )
        self.assertIn(b"SIZE 5000", replies[1])
        self.assertEqual([r[:3] for r in replies[-2:]], [b"250", b"452"])

    async def test_received_fields(self) -> None:
        """The limit of the Received fields is acceptance's, and changes, too."""
        server = await Loopback.start(self, reactor)
        for limit, code in ((2, b"554"), (3, b"250")):
            server.server.reload(evolve(server.settings, limits=Limits(received_fields=limit)))
            replies = await server.say(
                b"EHLO client.test",
                b"MAIL FROM:<a@client.test>",
                b"RCPT TO:<user@example.org>",
                b"DATA",
                LOOPING + b"Subject: x\r\n\r\nhi\r\n.",
            )
            self.assertEqual(replies[-1][:3], code)

    async def test_mail_log(self) -> None:
        """Its file and format change."""
        server = await Loopback.start(self, reactor)
        path = Path(self.mktemp()).absolute()
        log = LogSection(mail_log=str(path), format="json")
        server.server.reload(evolve(server.settings, log=log))
        await server.say(
            b"EHLO client.test",
            b"MAIL FROM:<a@client.test>",
            b"RCPT TO:<user@example.org>",
            b"DATA",
            b"Subject: x\r\n\r\nhi\r\n.",
        )
        await server.server.stopService()
        self.assertIn('"event":"accepted"', path.read_text())
