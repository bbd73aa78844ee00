"""What the server offers is used, and what it does not offer is not (EHLO's keywords)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from twisted.internet import reactor

from mailrelay.queue.outcome import Delivered, Reach
from mailrelay.queue.transport import Result
from mailrelay.smtp.address import Address
from mailrelay.smtp.command import Notify
from mailrelay.testing.scripted_server import Manners, Peer, ScriptedServer, polite
from tests.outbound.delivery import BODY, RECIPIENT, OutboundTestCase, short


class ExtensionTests(OutboundTestCase):
    """One message at a server that offers this and that."""

    async def sent(
        self, *extensions: bytes, recipients: list[str] | None = None, **fields: Any
    ) -> tuple[ScriptedServer, Result]:
        """A try with a message of these fields."""
        server = await ScriptedServer.start(self, reactor, polite(Manners(extensions)))
        return server, await self.attempt(server.port, recipients or [RECIPIENT], **fields)

    async def check(self, extensions: list[bytes], mail: bytes, **fields: Any) -> None:
        """The MAIL command that is sent."""
        server, result = await self.sent(*extensions, **fields)
        self.assertEqual(short(result.outcomes[0]), "delivered 250 2.0.0")
        self.assertEqual(server.lines[1], b"MAIL FROM:<a@us.test>" + mail)

    async def refused(self, extensions: list[bytes], expected: str, **fields: Any) -> None:
        """No transaction begins; the connection stays good and the history says why."""
        server, result = await self.sent(*extensions, **fields)
        self.assertEqual(short(result.outcomes[0]), expected)
        self.assertEqual(server.lines, [b"EHLO us.test"])
        self.assertIn(expected.split(" ", 1)[1], result.attempt.transcript[-1])

    async def test_nothing_offered(self) -> None:
        """Parameters that were not offered are not sent."""
        await self.check([], b"", ret="FULL", envid="x")

    async def test_size(self) -> None:
        """SIZE is said when offered; too big is known without asking; 0 and junk are no limit."""
        await self.check([b"SIZE"], b" SIZE=38")
        await self.check([b"SIZE 0"], b" SIZE=38")
        await self.check([b"SIZE lots"], b" SIZE=38")
        await self.check([b"SIZE 38"], b" SIZE=38")
        await self.refused([b"SIZE 37"], "failure 552 5.3.4")

    async def test_eight_bit(self) -> None:
        """8-bit content is said to be so, and not sent to who cannot take it."""
        await self.check([b"8BITMIME"], b"")
        await self.check([b"8bitmime"], b" BODY=8BITMIME", eight_bit=True)
        await self.refused([], "failure 554 5.6.3", eight_bit=True)

    async def test_smtputf8(self) -> None:
        """An address beyond ASCII needs SMTPUTF8, and is sent as UTF-8."""
        server, result = await self.sent(
            b"SMTPUTF8",
            b"8BITMIME",
            recipients=["jörg@münchen.test"],
            smtputf8=True,
            reverse_path=Address.parse("ä@us.test"),
        )
        self.assertEqual(short(result.outcomes[0]), "delivered 250 2.0.0")
        self.assertEqual(
            server.lines[1:3],
            [
                "MAIL FROM:<ä@us.test> SMTPUTF8".encode(),
                "RCPT TO:<jörg@xn--mnchen-3ya.test>".encode(),
            ],
        )
        await self.refused([b"8BITMIME"], "failure 550 5.6.7", smtputf8=True)

    async def test_null_reverse_path(self) -> None:
        """A report has no sender."""
        server, _ = await self.sent(reverse_path=None)
        self.assertEqual(server.lines[1], b"MAIL FROM:<>")

    async def test_dsn(self) -> None:
        """The parameters go on unchanged; who knows them takes over the duty to report."""
        server, result = await self.sent(
            b"DSN",
            ret="HDRS",
            envid="a+b=c d",
            entry={
                "notify": frozenset({Notify.SUCCESS, Notify.FAILURE}),
                "orcpt": "rfc822;some+one@peer.test",
            },
        )
        self.assertEqual(
            server.lines[1:3],
            [
                b"MAIL FROM:<a@us.test> RET=HDRS ENVID=a+2Bb+3Dc+20d",
                b"RCPT TO:<someone@peer.test> NOTIFY=FAILURE,SUCCESS"
                b" ORCPT=rfc822;some+2Bone@peer.test",
            ],
        )
        [outcome] = result.outcomes
        self.assertEqual(getattr(outcome, "reach", None), Reach.PASSED_ON)

    async def test_no_dsn(self) -> None:
        """Who does not know DSN is not bothered with it, and the duty to report stays here."""
        server, result = await self.sent(
            entry={"notify": frozenset({Notify.NEVER}), "orcpt": "rfc822;x@peer.test"}
        )
        self.assertEqual(server.lines[2], b"RCPT TO:<someone@peer.test>")
        [outcome] = result.outcomes
        assert isinstance(outcome, Delivered)
        self.assertEqual(outcome.reach, Reach.RELAYED)

    async def test_chunking(self) -> None:
        """BDAT instead of DATA, with the content as it is."""
        server, result = await self.sent(b"CHUNKING", b"PIPELINING")
        self.assertEqual(short(result.outcomes[0]), "delivered 250 2.0.0")
        self.assertEqual(server.lines[-1], b"BDAT %d LAST" % len(BODY))
        self.assertEqual(server.contents, [BODY])
        self.assertIn(f"C: BDAT {len(BODY)} LAST", result.attempt.transcript)

    async def test_chunking_in_blocks(self) -> None:
        """A large message is one chunk, read in blocks."""
        server = await ScriptedServer.start(self, reactor, polite(Manners([b"CHUNKING"])))
        transport = self.transport()
        self.spool = b".\r\n" * 300_000
        result = await self.attempt(server.port, transport=transport)
        self.assertEqual(short(result.outcomes[0]), "delivered 250 2.0.0")
        self.assertEqual(server.contents, [self.spool])

    async def test_chunk_refused(self) -> None:
        """What BDAT is answered is the outcome; 421 and silence too."""
        for answer, expected in {
            b"552 5.3.4 no": "failure 552 5.3.4",
            b"452 4.3.1 no room": "deferral 452 4.3.1",
            b"421 4.3.2 bye": "deferral 421 4.3.2",
        }.items():
            manners = Manners([b"CHUNKING"], answers={"BDAT": answer})
            server = await ScriptedServer.start(self, reactor, polite(manners))
            self.assertEqual(short(await self.outcome(server.port)), expected)

    async def test_no_chunk_when_nobody_wants_it(self) -> None:
        """With all recipients refused no BDAT is sent: its bytes would have to follow."""
        manners = Manners([b"CHUNKING", b"PIPELINING"], answers={"RCPT": b"550 5.1.1 no"})
        server = await ScriptedServer.start(self, reactor, polite(manners))
        self.assertEqual(short(await self.outcome(server.port)), "failure 550 5.1.1")
        self.assertEqual(server.lines[-1], b"RSET")

    async def test_pipelining(self) -> None:
        """MAIL, RCPT and DATA come in one packet, before any of them is answered."""
        together: list[bytes] = []

        async def mail(peer: Peer) -> None:
            together.extend([await peer.expect(b"RCPT"), await peer.expect(b"DATA")])
            peer.say(b"250 ok", b"250 ok", b"354 go")
            await peer.content()
            peer.say(b"250 2.0.0 taken")

        server = await ScriptedServer.start(self, reactor, polite(MAIL=mail))
        self.assertEqual(short(await self.outcome(server.port)), "delivered 250 2.0.0")
        self.assertEqual(together, [b"RCPT TO:<someone@peer.test>", b"DATA"])

    async def test_lock_step(self) -> None:
        """Without PIPELINING nothing is sent before the answer to what was."""
        early: list[int] = []

        async def slowly(peer: Peer) -> None:
            before = peer.received_bytes
            await peer.sleep(0.02)
            early.append(peer.received_bytes - before)
            peer.say(b"250 ok")

        manners = Manners([], answers={"MAIL": slowly, "RCPT": slowly})
        server = await ScriptedServer.start(self, reactor, polite(manners))
        result = await self.attempt(server.port, ["a@peer.test", "b@peer.test"])
        self.assertEqual([short(o) for o in result.outcomes], ["delivered 250 2.0.0"] * 2)
        self.assertEqual(early, [0, 0, 0])

    async def test_many_recipients(self) -> None:
        """500 recipients with a refusal here and there: each has its own outcome, in order."""
        answers = [b"550 5.1.1 no" if number % 7 == 0 else b"250 ok" for number in range(500)]
        for extensions in ([b"PIPELINING"], []):
            manners = Manners(extensions, answers={"RCPT": answers})
            server = await ScriptedServer.start(self, reactor, polite(manners))
            names = [f"r{number}@peer.test" for number in range(500)]
            result = await self.attempt(server.port, names)
            self.assertEqual(
                [short(outcome) for outcome in result.outcomes],
                [
                    "failure 550 5.1.1" if number % 7 == 0 else "delivered 250 2.0.0"
                    for number in range(500)
                ],
            )
            self.assertEqual(len(server.contents), 1)

    async def test_batches(self) -> None:
        """RCPTMAX (RFC 9422) makes several transactions of them, on one connection."""
        manners = Manners([b"PIPELINING", b"LIMITS MAILMAX=100 RCPTMAX=200"])
        server = await ScriptedServer.start(self, reactor, polite(manners))
        result = await self.attempt(server.port, [f"r{n}@peer.test" for n in range(500)])
        self.assertEqual({short(o) for o in result.outcomes}, {"delivered 250 2.0.0"})
        self.assertEqual(len(result.outcomes), 500)
        mails = [n for n, line in enumerate(server.lines) if line.startswith(b"MAIL")]
        batches = [server.lines[start:end] for start, end in pairwise([*mails, None])]
        counts = [sum(line.startswith(b"RCPT") for line in batch) for batch in batches]
        self.assertEqual((counts, len(server.peers)), ([200, 200, 100], 1))

    async def test_connection_ends_between_batches(self) -> None:
        """What the first batch came to stands; the rest is for later."""

        async def gone(peer: Peer) -> None:
            peer.close()

        manners = Manners([b"PIPELINING", b"LIMITS RCPTMAX=2"])
        server = await ScriptedServer.start(
            self,
            reactor,
            polite(manners, MAIL=[b"250 ok", gone], RCPT=[b"550 5.1.1 no", b"250 ok"]),
        )
        result = await self.attempt(server.port, [f"r{n}@peer.test" for n in range(3)])
        self.assertEqual(
            [short(outcome) for outcome in result.outcomes],
            ["failure 550 5.1.1", "delivered 250 2.0.0", "deferral 451 4.4.2"],
        )

    async def test_connection_ends_before_many_batches(self) -> None:
        """None of the batches behind it waits for a connection that is gone."""

        async def gone(peer: Peer) -> None:
            peer.close()

        manners = Manners([b"PIPELINING", b"LIMITS RCPTMAX=1"])
        server = await ScriptedServer.start(self, reactor, polite(manners, MAIL=[b"250 ok", gone]))
        result = await self.attempt(server.port, [f"r{n}@peer.test" for n in range(4)])
        self.assertEqual(
            [short(outcome) for outcome in result.outcomes],
            ["delivered 250 2.0.0", *["deferral 451 4.4.2"] * 3],
        )

    async def test_kept_connection_ends_before_many_batches(self) -> None:
        """A kept connection that was closed meanwhile costs nothing here either."""

        async def gone(peer: Peer) -> None:
            peer.close()

        manners = Manners([b"PIPELINING", b"LIMITS RCPTMAX=1"])
        first, second = polite(manners, MAIL=[b"250 ok", gone]), polite(manners)
        server = await ScriptedServer.start(self, reactor, first, second)
        transport = self.transport()
        await self.attempt(server.port, transport=transport)
        names = [f"r{n}@peer.test" for n in range(3)]
        result = await self.attempt(server.port, names, transport=transport)
        self.assertEqual({short(o) for o in result.outcomes}, {"delivered 250 2.0.0"})
        self.assertEqual(len(server.peers[1].contents), 3)

    async def test_whose_answer(self) -> None:
        """What we say ourselves, of the host or a lost connection, is no answer of the host's."""

        async def gone(peer: Peer) -> None:
            peer.close()

        for answer, is_answer in ((b"550 5.1.1 no", True), (b"450 4.2.1 no", True), (gone, False)):
            server = await ScriptedServer.start(self, reactor, polite(MAIL=answer))
            [outcome] = (await self.attempt(server.port)).outcomes
            self.assertEqual(getattr(outcome, "is_answer", None), is_answer, answer)
        _, result = await self.sent(b"SIZE 1")
        self.assertEqual(getattr(result.outcomes[0], "is_answer", None), False)
