"""The relay rules of a running server: read again when they change, kept when they are broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailrelay.config.transports import RelayingSection
from mailrelay.control.relays import RelayFolder, RelayPlace
from mailrelay.directory.model import Directory, Domain
from mailrelay.directory.relays import RelayRule, RelayRuleKind
from mailrelay.net.threads import AtOnce
from mailrelay.routing.relay_files import RelayProblem
from mailrelay.service.relaying import LOOK_EVERY, Relaying
from mailrelay.smtp.address import Address
from mailrelay.testing.loopback import Loopback
from mailrelay.testing.scripted_server import ScriptedServer, polite
from tests.cli.operated import soon

RECIPIENT = Address.parse("bob@remote.test")


class RelayingTests(SynchronousTestCase):
    """Relaying, over a folder."""

    def setUp(self) -> None:
        """One domain, no file."""
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.directory = Directory({"ours.test": Domain(1, "ours.test")})
        self.clock = Clock()
        self.told: list[LogEvent] = []
        observer: Any = self.told.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def start(self, place: RelayPlace | None = None) -> Relaying:
        """What answers, started."""
        chosen = place or RelayPlace(RelayFolder(self.folder))
        relaying = Relaying(chosen, lambda: self.directory, self.clock, AtOnce())
        relaying.load()
        relaying.startService()
        self.addCleanup(relaying.stopService)
        return relaying

    def write(self, text: str) -> None:
        """Have the map say ``text``, and let it be looked at."""
        (self.folder / "postfix-relaymap.cf").write_text(text)
        self.clock.advance(LOOK_EVERY)

    def host(self, relaying: Relaying, sender: str = "joe@ours.test") -> str | None:
        """The first hop of ``sender``'s mail."""
        hops = relaying.rules().decide(Address.parse(sender), RECIPIENT).hops
        return hops[0].next_hop.host if hops else None

    def test_changes(self) -> None:
        """A file that appears, changes and goes."""
        relaying = self.start()
        self.assertIsNone(self.host(relaying))
        self.write("@ours.test [a.example]\n")
        self.assertEqual(self.host(relaying), "a.example")
        self.write("@ours.test [bb.example]\n")
        self.assertEqual(self.host(relaying), "bb.example")
        (self.folder / "postfix-relaymap.cf").unlink()
        self.clock.advance(LOOK_EVERY)
        self.assertIsNone(self.host(relaying))

    def test_broken(self) -> None:
        """What was read last holds, with one line in the log, until the file is mended."""
        relaying = self.start()
        self.write("@ours.test [a.example]\n")
        self.write("@ours.test [a.example\n")
        self.clock.advance(LOOK_EVERY)
        self.assertEqual((self.host(relaying), relaying.is_stale), ("a.example", True))
        said = [str(e["reason"]) for e in self.told if "reason" in e]
        self.assertEqual(len(said), 1)
        self.assertIn("postfix-relaymap.cf, line 1", said[0])
        self.write("@ours.test [mended.example]\n")
        self.assertEqual((self.host(relaying), relaying.is_stale), ("mended.example", False))

    def test_put_back(self) -> None:
        """A file that is as it was read is not stale, whatever was in its place meanwhile."""
        relaying = self.start()
        self.write("@ours.test [a.example]\n")
        path = self.folder / "postfix-relaymap.cf"
        kept = path.rename(self.folder / "kept")
        self.write("@ours.test [a.example\n")
        self.assertTrue(relaying.is_stale)
        kept.replace(path)
        self.clock.advance(LOOK_EVERY)
        self.assertEqual((self.host(relaying), relaying.is_stale), ("a.example", False))

    def test_start_refuses(self) -> None:
        """A server does not begin with files that it cannot use."""
        self.write("@ours.test [a.example\n")
        self.assertRaises(RelayProblem, self.start)

    def test_domains(self) -> None:
        """RELAY_HOST is for the domains that are ours now."""
        relaying = self.start(RelayPlace(None, {"RELAY_HOST": "all.example"}))
        self.assertEqual(self.host(relaying), "all.example")
        self.assertIsNone(self.host(relaying, "joe@new.test"))
        self.directory = Directory({"new.test": Domain(2, "new.test")})
        self.assertEqual(self.host(relaying, "joe@new.test"), "all.example")
        self.assertIsNone(self.host(relaying))

    def stored(self, *rules: tuple[str, str, str]) -> None:
        """Have the directory say these rules."""
        read = tuple(RelayRule(RelayRuleKind(kind), key, value) for kind, key, value in rules)
        self.directory = evolve(self.directory, relay_rules=read)

    def test_directory_data(self) -> None:
        """What the directory says now; what cannot be read of it changes nothing."""
        relaying = self.start()
        self.stored(("map", "@ours.test", "[d.example]"))
        self.assertEqual(self.host(relaying), "d.example")
        self.write("@ours.test [f.example]\n")
        self.assertEqual(self.host(relaying), "f.example")
        self.write("")
        self.stored(("map", "@ours.test", "[d.example"))
        self.assertEqual((self.host(relaying), relaying.is_stale), ("d.example", True))
        self.stored(("map", "@ours.test", "[e.example]"))
        self.assertEqual((self.host(relaying), relaying.is_stale), ("e.example", False))
        self.stored()
        self.assertIsNone(self.host(relaying))

    def test_start_refuses_directory_data(self) -> None:
        """That it cannot read."""
        self.stored(("chain", "@ours.test", "[]"))
        self.assertRaises(RelayProblem, self.start)

    def test_another_place(self) -> None:
        """A configuration that is read again may name another folder."""
        relaying = self.start(RelayPlace())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        other = self.folder / "other"
        other.mkdir()
        (other / "postfix-relaymap.cf").write_text("@ours.test [other.example]\n")
        relaying.reconfigure(RelayPlace(RelayFolder(other)))
        self.assertEqual(self.host(relaying), "other.example")
        (other / "postfix-relaymap.cf").write_text("@ours.test [changed.example]\n")
        self.clock.advance(LOOK_EVERY)
        self.assertEqual(self.host(relaying), "changed.example")

    def test_warnings_are_logged(self) -> None:
        """What is allowed and hardly meant is said when it is read."""
        relaying = self.start()
        self.write("ours.test [a.example]\n")
        self.assertIsNone(self.host(relaying))
        said = [str(e["warning"]) for e in self.told if "warning" in e]
        self.assertEqual(len(said), 1)
        self.assertIn("ours.test fits no sender", said[0])


class ServerTests(TestCase):
    """A whole server that sends by relay hosts."""

    timeout = 60

    async def test_by_sender(self) -> None:
        """Mail goes by the host of its sender's domain, and the next when that one is away."""
        away = await ScriptedServer.start(self, reactor, polite(MAIL=b"450 4.3.2 not now"))
        good = await ScriptedServer.start(self, reactor, polite())
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        hops = ", ".join(f"[127.0.0.1]:{server.port}" for server in (away, good))
        (folder / "postfix-relaymap.cf").write_text(f"@client.test {hops}\n")
        server = await Loopback.start(
            self,
            reactor,
            trusted_networks=("127.0.0.1/32",),
            relaying=RelayingSection(dir=str(folder)),
        )
        replies = await server.say(
            b"EHLO client.test",
            b"MAIL FROM:<joe@client.test>",
            b"RCPT TO:<bob@remote.test>",
            b"DATA",
            b"Subject: hello\r\n\r\nhi\r\n.",
        )
        self.assertEqual(replies[-1][:3], b"250")
        while not good.contents:
            await soon(reactor)
        self.assertIn(b"Subject: hello", good.contents[0])
        self.assertEqual(len(away.peers), 1)
