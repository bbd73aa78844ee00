"""Servers that take only so many recipients at a time (RFC 5321 section 4.5.3.1.10)."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet import reactor

from mailrelay.outbound.transactions import MOST_FOLLOWING
from mailrelay.queue.transport import Result
from mailrelay.testing.scripted_server import Answers, Manners, Peer, ScriptedServer, polite
from tests.outbound.delivery import BODY, OutboundTestCase, short

TOO_MANY = b"452 4.5.3 too many recipients"
DELIVERED, WAITS = "delivered 250 2.0.0", "deferral 452 4.5.3"


class TooManyTests(OutboundTestCase):
    """One message for some recipients."""

    async def sent(
        self, recipients: int, extensions: Sequence[bytes] = (b"PIPELINING",), /, **answers: Answers
    ) -> tuple[ScriptedServer, Result]:
        """What comes of it at a server with these answers."""
        script = polite(Manners(extensions), **answers)
        server = await ScriptedServer.start(self, reactor, script)
        names = [f"r{number}@peer.test" for number in range(recipients)]
        return server, await self.attempt(server.port, names)

    def asked(self, server: ScriptedServer) -> list[list[int]]:
        """The numbers of the recipients of each transaction."""
        asked: list[list[int]] = []
        for line in server.lines:
            if line.startswith(b"MAIL"):
                asked.append([])
            elif line.startswith(b"RCPT"):
                asked[-1].append(int(line.split(b"<r")[1].split(b"@")[0]))
        return asked

    async def test_rest_follows_at_once(self) -> None:
        """Those that were too many go in another transaction on the same connection."""
        for extensions in ([b"PIPELINING"], [], [b"CHUNKING", b"PIPELINING"]):
            answers = [b"250 ok"] * 2 + [TOO_MANY] * 3 + [b"250 ok"] * 2 + [TOO_MANY, b"250 ok"]
            server, result = await self.sent(5, extensions, RCPT=answers)
            self.assertEqual([short(o) for o in result.outcomes], [DELIVERED] * 5)
            self.assertEqual(self.asked(server), [[0, 1, 2, 3, 4], [2, 3, 4], [4]])
            self.assertEqual((server.contents, len(server.peers)), ([BODY] * 3, 1))
            self.assertIn("(3 recipients were too many: once more)", result.attempt.transcript)

    async def test_outcomes_stay_with_their_recipients(self) -> None:
        """Refusals among them, in either transaction, are the right recipient's."""
        answers = [b"550 5.1.1 no", b"250 ok", TOO_MANY, b"450 4.2.1 later", b"452 full up"]
        server, result = await self.sent(5, RCPT=[*answers, b"551 5.1.6 gone", b"250 ok"])
        self.assertEqual(
            [short(o) for o in result.outcomes],
            ["failure 550 5.1.1", DELIVERED, "failure 551 5.1.6", "deferral 450 4.2.1", DELIVERED],
        )
        self.assertEqual(self.asked(server), [[0, 1, 2, 3, 4], [2, 4]])

    async def test_nobody_was_taken(self) -> None:
        """Where nobody was taken, or the content was not, nothing is sent at once."""
        server, result = await self.sent(2, RCPT=TOO_MANY)
        self.assertEqual([short(o) for o in result.outcomes], [WAITS] * 2)
        self.assertEqual(len(self.asked(server)), 1)
        refused: dict[str, Answers] = {".": b"554 5.6.0 no"}
        server, result = await self.sent(2, RCPT=[b"250 ok", TOO_MANY], **refused)
        self.assertEqual([short(o) for o in result.outcomes], ["failure 554 5.6.0", WAITS])
        self.assertEqual(len(self.asked(server)), 1)

    async def test_second_transaction_takes_nobody(self) -> None:
        """The rest waits as soon as a transaction disposes of nobody."""
        server, result = await self.sent(3, RCPT=[b"250 ok", TOO_MANY])
        self.assertEqual([short(o) for o in result.outcomes], [DELIVERED, WAITS, WAITS])
        self.assertEqual(self.asked(server), [[0, 1, 2], [1, 2]])

    async def test_full_mailbox(self) -> None:
        """452 4.2.2 is of the recipient, 452 4.3.1 of the server: neither is tried at once."""
        for status in (b"4.2.2", b"4.3.1"):
            server, result = await self.sent(2, RCPT=[b"250 ok", b"452 %s full" % status])
            self.assertEqual(short(result.outcomes[1]), f"deferral 452 {status.decode()}")
            self.assertEqual(len(self.asked(server)), 1)

    async def test_552(self) -> None:
        """The wrong code for it is taken for 452, and bounces nobody; a full mailbox does."""
        too_many = b"552 5.5.3 too many recipients"
        server, result = await self.sent(2, RCPT=[b"250 ok", too_many, b"250 ok"])
        self.assertEqual([short(o) for o in result.outcomes], [DELIVERED] * 2)
        server, result = await self.sent(2, RCPT=[b"250 ok", too_many])
        self.assertEqual([short(o) for o in result.outcomes], [DELIVERED, WAITS])
        server, result = await self.sent(2, RCPT=[b"250 ok", b"552 5.2.2 full"])
        self.assertEqual(short(result.outcomes[1]), "failure 552 5.2.2")
        self.assertEqual(len(self.asked(server)), 1)

    async def test_one_at_a_time(self) -> None:
        """A server that takes one recipient at a time gets so many transactions and no more."""

        async def first_only(peer: Peer) -> None:
            is_first = peer.lines[-2].startswith(b"MAIL")
            peer.say(b"250 ok" if is_first else TOO_MANY)

        count = MOST_FOLLOWING + 5
        server, result = await self.sent(count, [], RCPT=first_only)
        taken = MOST_FOLLOWING + 1
        self.assertEqual(
            [short(o) for o in result.outcomes], [DELIVERED] * taken + [WAITS] * (count - taken)
        )
        self.assertEqual((len(server.contents), len(server.peers)), (taken, 1))

    async def test_gone_before_the_second(self) -> None:
        """What the first transaction came to stands when the connection ends after it."""

        async def gone(peer: Peer) -> None:
            peer.close()

        _, result = await self.sent(2, MAIL=[b"250 ok", gone], RCPT=[b"250 ok", TOO_MANY])
        self.assertEqual([short(o) for o in result.outcomes], [DELIVERED, WAITS])

    async def test_answered_before_the_end(self) -> None:
        """A connection that was given up with the first transaction is not used for another."""

        async def early(peer: Peer) -> None:
            peer.say(b"354 go on")
            await peer.take(10)
            peer.say(b"452 4.3.1 no room")
            await peer.be_silent()

        answers: dict[str, Answers] = {"DATA": early}
        server = await ScriptedServer.start(
            self, reactor, polite(Manners([b"LIMITS RCPTMAX=1"]), **answers)
        )
        transport = self.transport()
        self.spool = b"x" * 5_000_000
        result = await self.attempt(
            server.port, ["a@peer.test", "b@peer.test"], transport=transport
        )
        self.assertEqual(
            [short(o) for o in result.outcomes], ["deferral 452 4.3.1", "deferral 451 4.4.2"]
        )
