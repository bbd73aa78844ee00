"""How long each step may take (RFC 5321 section 4.5.3.2), to the second."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.net.tls import TLSLevel, client_tls
from mailrelay.outbound.content import Outgoing
from mailrelay.outbound.hosts import Target
from mailrelay.outbound.pool import Access, ConnectionPool
from mailrelay.outbound.settings import OutboundSettings, Timeouts
from mailrelay.outbound.transcript import Transcript
from tests.outbound.wire import PLAN, Wire, small

TIMES = Timeouts(
    greeting=301, command=302, data=121, content_block=181, end_of_content=601, connect=31
)
CONTENT = small(b"hello\r\n")


class TimeoutTests(SynchronousTestCase):
    """Silence at each step."""

    def wire(self) -> Wire:
        """A wire with a different timeout for each step."""
        return Wire(evolve(PLAN, timeouts=TIMES))

    def silent(self, wire: Wire, seconds: float) -> None:
        """The client waits ``seconds`` and no longer."""
        wire.clock.advance(seconds - 0.001)
        self.assertFalse(wire.transport.aborted)
        wire.clock.advance(0.001)
        self.assertTrue(wire.transport.aborted)
        self.assertEqual(wire.clock.getDelayedCalls(), [])

    def test_defaults_are_those_of_the_rfc(self) -> None:
        """Nobody is hung up on before RFC 5321 section 4.5.3.2 allows it."""
        times = Timeouts()
        self.assertEqual((times.greeting, times.command, times.data), (300, 300, 120))
        self.assertEqual((times.content_block, times.end_of_content), (180, 600))

    def test_connecting(self) -> None:
        """The wait for a connection is the setting's."""
        reactor = MemoryReactorClock()
        settings = OutboundSettings(timeouts=TIMES)
        pool = ConnectionPool(reactor, reactor, settings, "us", client_tls(), str)
        target, access = Target("peer", "192.0.2.1", 25), Access(TLSLevel.NONE)
        opening = Deferred.fromCoroutine(pool.connect(target, access, Transcript()))
        self.assertNoResult(opening)
        [(host, port, _, timeout, _)] = reactor.tcpClients
        self.assertEqual((host, port, timeout), ("192.0.2.1", 25, 31))

    def test_greeting(self) -> None:
        """No greeting."""
        wire = self.wire()
        self.silent(wire, 301)
        self.assertEqual(wire.refusal, "deferral 451 4.4.2")

    def test_ehlo_and_helo(self) -> None:
        """No answer to EHLO, or to HELO after it."""
        wire = self.wire()
        self.assertEqual(wire.said(b"220 hi"), b"EHLO us.test\r\n")
        self.silent(wire, 302)
        wire = self.wire()
        wire.said(b"220 hi")
        self.assertEqual(wire.said(b"502 what"), b"HELO us.test\r\n")
        self.silent(wire, 302)
        self.assertEqual(wire.refusal, "deferral 451 4.4.2")

    def test_starttls(self) -> None:
        """No answer to STARTTLS."""
        wire = Wire(evolve(PLAN, timeouts=TIMES, level=TLSLevel.MAY))
        wire.said(b"220 hi")
        self.assertEqual(wire.said(b"250-hi", b"250 STARTTLS"), b"STARTTLS\r\n")
        self.silent(wire, 302)
        self.assertEqual(wire.refusal, "deferral 451 4.4.2")

    def test_auth(self) -> None:
        """No answer to AUTH, or to what follows it."""
        wire = Wire(evolve(PLAN, timeouts=TIMES, username="u", password="p", auth_without_tls=True))
        wire.said(b"220 hi")
        self.assertEqual(wire.said(b"250-hi", b"250 AUTH LOGIN"), b"AUTH LOGIN\r\n")
        wire.clock.advance(300)
        wire.said(b"334 VXNlcm5hbWU6")
        self.silent(wire, 302)
        self.assertEqual(wire.refusal, "deferral 451 4.4.2")

    def test_mail_and_rcpt(self) -> None:
        """No answer to MAIL, or to RCPT."""
        wire = self.wire().opened()
        self.assertEqual(wire.begin(CONTENT), b"MAIL FROM:<a@us.test>\r\n")
        self.silent(wire, 302)
        wire = self.wire().opened()
        wire.begin(CONTENT)
        wire.said(b"250 ok")
        self.silent(wire, 302)
        self.assertEqual(wire.outcomes, ["deferral 451 4.4.2"])

    def test_data(self) -> None:
        """No answer to DATA, sent alone or pipelined."""
        wire = self.wire().opened()
        wire.begin(CONTENT)
        wire.said(b"250 ok")
        self.assertEqual(wire.said(b"250 ok"), b"DATA\r\n")
        self.silent(wire, 121)
        wire = self.wire().opened(b"PIPELINING")
        wire.begin(CONTENT)
        wire.said(b"250 ok", b"250 ok")
        self.silent(wire, 121)
        self.assertEqual(wire.outcomes, ["deferral 451 4.4.2"])

    def test_end_of_content(self) -> None:
        """No answer to the final dot, or to the last chunk."""
        for extension in (b"SIZE", b"CHUNKING"):
            wire = self.wire().opened(extension)
            wire.begin(CONTENT)
            wire.said(b"250 ok")
            wire.said(b"250 ok")
            if extension == b"SIZE":
                self.assertEqual(wire.said(b"354 go"), b"hello\r\n.\r\n")
            self.silent(wire, 601)
            self.assertEqual(wire.outcomes, ["deferral 451 4.4.2"])

    def test_content_block(self) -> None:
        """A peer that stops taking content; each block that it takes starts the wait anew."""
        wire = self.wire().opened(b"PIPELINING")
        wire.begin(Outgoing(b"", 10**9, lambda offset, size: succeed(b"x" * 1000)))
        wire.said(b"250 ok", b"250 ok", b"354 go")
        for _ in range(5):
            wire.clock.advance(180)
            self.assertIn(b"xxx", wire.transport.drain())
        self.silent(wire, 181)
        self.assertEqual(wire.outcomes, ["deferral 451 4.4.2"])

    def test_rset(self) -> None:
        """No answer to RSET: the outcome is known all the same."""
        wire = self.wire().opened()
        wire.begin(CONTENT)
        self.assertEqual(wire.said(b"550 5.7.1 no"), b"RSET\r\n")
        self.silent(wire, 302)
        self.assertEqual(wire.outcomes, ["failure 550 5.7.1"])

    def test_lines_that_trickle_in(self) -> None:
        """Continuation lines and bytes do not keep us waiting; only a whole reply counts."""
        for trickle in (b"250-more\r\n", b"2"):
            wire = self.wire()
            wire.said(b"220 hi")
            for _ in range(2):
                wire.clock.advance(150)
                wire.protocol.dataReceived(trickle)
            self.silent(wire, 2)
            self.assertEqual(wire.refusal, "deferral 451 4.4.2")

    def test_each_pipelined_reply_counts(self) -> None:
        """A server that answers a long group slowly but steadily is waited for."""
        wire = self.wire().opened(b"PIPELINING")
        wire.begin(CONTENT, recipients=10)
        for _ in range(10):
            wire.clock.advance(300)
            wire.said(b"250 ok")
        self.assertFalse(wire.transport.aborted)

    def test_no_wait_when_idle(self) -> None:
        """Between transactions the pool decides how long; no timer outlives the connection."""
        wire = self.wire().opened()
        wire.clock.advance(100_000)
        self.assertFalse(wire.transport.aborted)
        wire.lost()
        self.assertEqual(wire.clock.getDelayedCalls(), [])

    def test_peer_that_does_not_close(self) -> None:
        """After QUIT the peer has ten seconds to close its side."""
        wire = self.wire().opened()
        wire.protocol.close()
        self.assertEqual(wire.transport.drain(), b"QUIT\r\n")
        self.silent(wire, 10)
