"""``handoff = "sync"``: the answer says what became of the message."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from mailrelay.control.queue import EntryFilter
from mailrelay.handoff.endpoints import HandOffMode
from mailrelay.testing.loopback import USER
from mailrelay.testing.scripted_server import Answer, Answers, Peer
from tests.handoff.handing import MESSAGE, SENDER, HandingCase, Place
from tests.integration.world import soon, until

LATER, TAKEN = b"451 4.7.1 greylisted", b"250 2.1.5 ok"
TEAM = "team@example.org"


def in_turn(*answers: Answer) -> Answer:
    """An answer after the other, whatever the connection; the last one for all that follow."""
    left = list(answers)

    async def say(peer: Peer) -> None:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, bytes):
            peer.say(answer)
        else:
            await answer(peer)

    return say


class SyncTests(HandingCase):
    """On a whole server, with a relay host behind it."""

    async def sync(self, answers: dict[str, Answers] | None = None, **given: Any) -> Place:
        """Start it."""
        return await self.place(handoff=HandOffMode.SYNC, answers=answers, **given)

    def contents(self, place: Place) -> list[bytes]:
        """What went out; a refused recipient leaves an empty one, where DATA was sent along."""
        return [content for content in place.outside.contents if content]

    def copies(self, place: Place, recipient: str) -> int:
        """How often it was handed on for somebody."""
        return place.envelopes.count(f"RCPT TO:<{recipient}>")

    async def test_delivered(self) -> None:
        """200 says that it is."""
        place = await self.sync()
        await place.alias(TEAM, USER, "x@far.test")
        self.assert_answer(await place.post(MESSAGE, TEAM), 200, "OK")
        self.assertEqual(len(self.contents(place)), 1)
        self.assertEqual(await place.control.queue.find(EntryFilter()), [])
        self.assert_answer(await place.post(MESSAGE, TEAM), 200, "OK")
        self.assertEqual(self.copies(place, "x@far.test"), 1)
        self.assertEqual(len(await place.kept()), 1)

    async def test_deferred(self) -> None:
        """503 with what was said; it is ours no more, and each repetition is an attempt."""
        place = await self.sync({"RCPT": in_turn(LATER, LATER, TAKEN)})
        await place.alias(TEAM, USER, "x@far.test")
        for _ in range(2):
            answered = await place.post(MESSAGE, TEAM)
            self.assert_answer(answered, 503, "4.4.0 ")
            self.assertIn(b"greylisted", answered.body)
            self.assertIn("retry-after", answered.headers)
            self.assertEqual(await place.control.queue.find(EntryFilter()), [])
        tried = self.copies(place, "x@far.test")
        self.assert_answer(await place.post(MESSAGE, TEAM), 200, "OK")
        self.assertEqual((tried, self.copies(place, "x@far.test")), (2, 3))
        self.assertEqual(len(self.contents(place)), 1)
        self.assertEqual(len(await place.kept()), 1)  # a member has one copy for all of that
        self.assert_answer(await place.post(MESSAGE, TEAM), 200, "OK")
        self.assertEqual(self.copies(place, "x@far.test"), 3)

    async def test_failed(self) -> None:
        """A refusal for good is no reason to come again: our report tells the sender."""
        place = await self.sync({"RCPT": b"550 5.1.1 gone"})
        await place.alias(TEAM, "x@far.test", owner="other@example.org")
        answered = await place.post(MESSAGE, TEAM, X_Mailrelay_Mail_From=SENDER)
        self.assert_answer(answered, 200)
        [(account, _, _)] = await place.kept()
        self.assertEqual(account, "other")

    async def test_at_once(self) -> None:
        """The same several times: one copy, and everybody hears of it."""
        place = await self.sync()
        await place.alias(TEAM, USER, "x@far.test")
        posts = [Deferred.fromCoroutine(place.post(MESSAGE, TEAM)) for _ in range(4)]
        for answered in await gatherResults(posts):
            self.assertEqual(answered.status, 200, answered)
        self.assertEqual((self.copies(place, "x@far.test"), len(await place.kept())), (1, 1))

    async def test_no_time(self) -> None:
        """An attempt that takes too long goes on: 503, and whoever repeats it hears the end."""

        async def hold(peer: Peer) -> None:
            waiting: Deferred[None] = Deferred()
            self.release = lambda: waiting.callback(None)
            await waiting
            peer.say(TAKEN)

        place = await self.sync({"RCPT": in_turn(hold, TAKEN)}, sync_timeout=1.0)
        await place.alias(TEAM, "x@far.test")
        self.assert_answer(await place.post(MESSAGE, TEAM), 503, "4.4.1 ")
        self.release()
        await until(reactor, lambda: self.contents(place))
        await place.settled()
        self.assert_answer(await place.post(MESSAGE, TEAM), 200, "OK")
        self.assertEqual(len(self.contents(place)), 1)

    async def test_given_back_later(self) -> None:
        """One that is put off after nobody waited any longer is given back, too."""

        async def hold(peer: Peer) -> None:
            waiting: Deferred[None] = Deferred()
            self.release = lambda: waiting.callback(None)
            await waiting
            peer.say(LATER)

        place = await self.sync({"RCPT": in_turn(hold, TAKEN)}, sync_timeout=1.0)
        await place.alias(TEAM, "x@far.test")
        self.assert_answer(await place.post(MESSAGE, TEAM), 503, "4.4.1 ")
        self.release()
        await place.settled()
        self.assertEqual(self.contents(place), [])
        await soon(reactor, 0.1)
        self.assert_answer(await place.post(MESSAGE, TEAM), 200, "OK")
        self.assertEqual(len(self.contents(place)), 1)
