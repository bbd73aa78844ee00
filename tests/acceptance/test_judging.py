"""Judges of mail of strangers: who is asked, what becomes of what they find."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.acceptance.accept import Acceptance, Accepted
from mailrelay.acceptance.content import IncomingContent
from mailrelay.acceptance.envelope import Envelope, Source
from mailrelay.acceptance.judging import Arrived, Chain, Judge, Judgement
from mailrelay.acceptance.making import Making
from mailrelay.acceptance.passing import PassingOn
from mailrelay.acceptance.refusal import Refused
from mailrelay.directory.model import Directory
from mailrelay.message.auth_results import MethodResult
from mailrelay.message.srs import SRS
from mailrelay.message.verdict import Verdict
from mailrelay.policy.relay import Submitter
from mailrelay.smtp.address import Address
from mailrelay.smtp.command import Mail, Rcpt
from mailrelay.smtp.reply import reply
from tests.acceptance.test_accept import DIRECTORY, KeptMessages
from tests.inbound.sessions import FakeSpool

MX = Source("mx", "ESMTP", Submitter(), peer_ip="192.0.2.9", helo="client.test")
FORGED = b"Authentication-Results: mx.example.org; spf=pass\r\n"
HEADER = b"Received: from x\r\n" + FORGED + b"From: you@far.example\r\n\r\n"
NO = reply(550, "5.7.1", "no")
NONE_FOUND = b"Authentication-Results: mx.example.org;\r\n\tnone\r\n"


@frozen
class Finds:
    """A judge that finds what it is told to, and remembers what it was asked."""

    find: Callable[[Judgement], Judgement] = lambda found: found
    asked: list[tuple[Arrived, Judgement, bytes]] = field(factory=list)

    async def judge(self, arrived: Arrived, found: Judgement) -> Judgement:
        """See Judge."""
        body = b"".join([piece async for piece in arrived.pieces(arrived.body_at)])
        self.asked.append((arrived, found, body))
        return self.find(found)


@define
class ReadableSpool(FakeSpool):
    """Which can be read, too."""

    def read(self, name: str, offset: int, size: int) -> Deferred[bytes]:
        """See QueueStore.read_spool."""
        return succeed(self.bodies[name][offset : offset + size])


class JudgingTests(SynchronousTestCase):
    """Acceptance with judges."""

    def setUp(self) -> None:
        """An acceptance, and a spool."""
        self.store, self.spool, self.directory = KeptMessages(), ReadableSpool(), DIRECTORY
        making = Making(
            "mx.example.org",
            self.known,
            lambda: 1000.0,
            lambda: "0" * 32,
            self.store.new_id,
            lambda entry: entry,
            passing=PassingOn(SRS(b"secret")),
        )
        self.acceptance = Acceptance(
            making, self.store, lambda entries: None, lambda id_, content: None
        )

    def known(self) -> Directory:
        """Whom we serve."""
        return self.directory

    def accept(self, content: bytes, *judges: Judge) -> Deferred[Accepted]:
        """Accept ``content`` with ``judges``."""
        incoming = IncomingContent(self.spool.open)
        incoming.write(content)
        envelope = Envelope(
            Mail(Address.parse("you@far.example")), [Rcpt(Address.parse("alice@example.org"))]
        )
        chain = Chain("mx.example.org", judges, self.spool.read)
        return self.acceptance.accept(MX, envelope, incoming, chain)

    def kept(self) -> bytes:
        """What is kept of the one message, behind our Received."""
        [new] = self.store.added
        body, name = new.content.body, new.content.spool_name
        came = body if body is not None else self.spool.bodies[name or ""]
        self.assertEqual(len(came), new.content.body_size_bytes)
        self.assertEqual(new.message.size_bytes, new.content.size_bytes)
        received, _, rest = new.content.prefix.partition(b"+0000\r\n")
        self.assertTrue(received.startswith(b"Received: from client.test"), received)
        return rest + came

    def test_what_is_found(self) -> None:
        """It stands under our Received, and the verdict is kept; a later judge sees an earlier."""
        first = Finds(lambda found: evolve(found, results=(MethodResult("spf", "pass"),)))
        second = Finds(
            lambda found: evolve(found, fields=b"X-A: b\r\n", verdict=Verdict(junk="it is spam"))
        )
        self.successResultOf(self.accept(HEADER + b"hi\r\n", first, second))
        on_top = b"Authentication-Results: mx.example.org;\r\n\tspf=pass\r\nX-A: b\r\n"
        self.assertEqual(self.kept(), on_top + HEADER + b"hi\r\n")
        [(arrived, found, body)] = second.asked
        self.assertEqual((found.results[0].method, body), ("spf", b"hi\r\n"))
        self.assertEqual((arrived.source, arrived.at), (MX, 1000.0))
        [new] = self.store.added
        self.assertEqual(new.message.verdict, Verdict(junk="it is spam"))

    def test_refused(self) -> None:
        """Nobody is asked behind a judge who refuses, and nothing is kept."""
        last = Finds()
        for body in (b"hi\r\n", b"x" * 70_000):
            refusing = Finds(lambda found: evolve(found, refusal=NO))
            refused = self.failureResultOf(self.accept(HEADER + body, refusing, last), Refused)
            self.assertEqual(refused.value.reply, NO)
        self.assertEqual((last.asked, self.store.added), ([], []))
        self.assertEqual(self.spool.abandoned, ["body 0"])

    def test_hidden(self) -> None:
        """What is hidden is not in what is kept, in memory as in the spool."""
        at = HEADER.index(FORGED)
        stretches = ((at, at + len(FORGED), b""),)
        for body in (b"hi\r\n", b"x" * 700_000):
            self.setUp()
            self.successResultOf(
                self.accept(
                    HEADER + body,
                    Finds(lambda found: evolve(found, hidden=stretches)),
                )
            )
            self.assertEqual(self.kept(), NONE_FOUND + HEADER.replace(FORGED, b"") + body)
        self.assertEqual(self.spool.abandoned, ["body 0"])

    def test_not_hidden(self) -> None:
        """When the spool cannot be written anew nothing is kept, of either."""
        spool = self.spool

        def find(found: Judgement) -> Judgement:
            spool.failing = OSError("full")
            return evolve(found, hidden=((0, 18, b""),))

        refused = self.failureResultOf(self.accept(HEADER + b"x" * 70_000, Finds(find)), Refused)
        self.assertEqual(refused.value.reply.code, 452)
        self.assertEqual(spool.abandoned, ["body 0", "body 1"])

    def test_checks_come_first(self) -> None:
        """A message that loops is refused before anybody is asked."""
        judge = Finds()
        making = evolve(self.acceptance.making, max_received=0)
        self.acceptance = evolve(self.acceptance, making=making)
        self.failureResultOf(self.accept(HEADER, judge), Refused)
        self.assertEqual(judge.asked, [])
