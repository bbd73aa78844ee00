"""The SMTP server's protocol without a socket: order, smuggling, bounded hashing."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailrelay.inbound.authentication import FAILURE_DELAY
from mailrelay.inbound.context import Role
from mailrelay.queue.store import StoreUnavailable
from tests.inbound.sessions import Door

SMUGGLED = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\r\r\n.\r\r\n",
    b"\n\n.\r\n",
    b"\r\n\n.\r\n\r",
    b"\r\0\n.\r\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\0",
]
BEHIND = b"MAIL FROM:<evil@client.test>\r\nRCPT TO:<user@example.org>\r\nx"


class OrderTests(SynchronousTestCase):
    """Replies leave in command order, whatever an answer waits for."""

    def test_commands_behind_a_commit_wait(self) -> None:
        """Nothing is answered while the message before is being stored, then all in order."""
        door = Door()
        door.store.held = True
        client = door.connect()
        client.begin()
        client.ask(b"DATA")
        self.assertEqual(client.ask(b"Subject: x", b"", b".", b"NOOP", b"VRFY x"), b"")
        [waiting] = door.store.waiting
        waiting.callback(None)
        codes = [line[:3] for line in client.heard().split(b"\r\n")[:-1]]
        self.assertEqual(codes, [b"250", b"250", b"252"])


class SmugglingTests(SynchronousTestCase):
    """Only CRLF.CRLF ends content (CVE-2023-51764)."""

    def test_bare_newlines_in_data(self) -> None:
        """Every false end of DATA is refused whole, however it is cut; the session goes on."""
        for false_end in SMUGGLED:
            for step in (1, 3, 1000):
                door = Door()
                client = door.connect()
                client.begin()
                client.ask(b"DATA")
                content = b"Subject: x\r\n\r\nhi" + false_end + BEHIND + b"\r\n.\r\n"
                for at in range(0, len(content), step):
                    client.send(content[at : at + step])
                self.assertEqual(client.heard()[:9], b"550 5.6.0", (false_end, step))
                self.assertEqual(client.codes(b"NOOP"), [250], (false_end, step))
                self.assertEqual(door.store.stored, [])

    def test_bare_newlines_in_bdat(self) -> None:
        """A chunk with a bare CR or LF is refused, however it is cut; the session goes on."""
        for false_end in SMUGGLED:
            for step in (1, 1000):
                door = Door()
                client = door.connect()
                client.begin()
                content = b"Subject: x\r\n\r\nhi" + false_end + BEHIND + b"\r\n"
                client.send(b"BDAT %d LAST\r\n" % len(content))
                for at in range(0, len(content), step):
                    client.send(content[at : at + step])
                self.assertEqual(client.heard()[:9], b"550 5.6.0", (false_end, step))
                self.assertEqual(client.codes(b"NOOP"), [250], (false_end, step))
                self.assertEqual(door.store.stored, [])

    def test_repaired_newlines(self) -> None:
        """On a port that repairs, false ends become lines of the one canonical message."""
        for false_end in (b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n"):
            for step in (1, 2, 1000):
                door = Door(repair_newlines=True)
                client = door.connect()
                client.begin()
                client.ask(b"DATA")
                content = b"a: b\r\n\r\nhi" + false_end + b"QUIT\r\n.\r\n"
                for at in range(0, len(content), step):
                    client.send(content[at : at + step])
                self.assertEqual(client.heard()[:9], b"250 2.0.0", (false_end, step))
                [body] = door.bodies()
                self.assertNotIn(b"\r", body.replace(b"\r\n", b""))
                self.assertNotIn(b"\n", body.replace(b"\r\n", b""))
                self.assertTrue(body.endswith(b"QUIT\r\n"), body)


class StorageTroubleTests(SynchronousTestCase):
    """Storage trouble is told as 452 4.3.1 and ends by itself."""

    def test_store_that_fails_and_recovers(self) -> None:
        """A failed commit is 452; the next message of the session is accepted."""
        door = Door()
        client = door.connect()
        door.store.failing = StoreUnavailable("disk full")
        client.begin()
        client.ask(b"DATA")
        self.assertEqual(client.ask(b"Subject: x", b"", b".")[:9], b"452 4.3.1")
        door.store.failing = None
        client.begin()
        client.ask(b"DATA")
        self.assertEqual(client.ask(b"Subject: x", b"", b".")[:9], b"250 2.0.0")

    def test_spool_that_fails(self) -> None:
        """Large content that cannot be spooled is 452, and no message is stored."""
        door = Door()
        door.spool.failing = OSError("no space left on device")
        client = door.connect()
        client.begin()
        client.ask(b"DATA")
        client.send(b"a: b\r\n\r\n" + b"x" * 100_000 + b"\r\n")
        self.assertEqual(client.ask(b".")[:9], b"452 4.3.1")
        self.assertEqual(door.store.stored, [])


class HashingTests(SynchronousTestCase):
    """Password checks are bounded, and hold up nobody else."""

    def test_hundred_logins_at_once(self) -> None:
        """32 checks wait, the others are 454; another session's NOOP is answered meanwhile."""
        door = Door(Role.SUBMISSION, auth_without_tls=True)
        door.hashing.held = True
        clients = [door.connect(f"192.0.2.{n}") for n in range(100)]
        # Each as somebody else: who asks the same waits for one check.
        answers = [client.log_in(f"nobody{n}@example.org") for n, client in enumerate(clients)]
        self.assertEqual(answers.count(b""), 32)
        self.assertEqual(sum(answer.startswith(b"454 4.7.0") for answer in answers), 68)
        self.assertEqual(door.connect().codes(b"NOOP"), [250])
        door.hashing.release()
        door.clock.advance(FAILURE_DELAY)
        heard = [client.heard()[:3] for client in clients]
        self.assertEqual(heard.count(b"535"), 32)
