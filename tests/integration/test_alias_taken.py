"""What a sender is told that wants to hear of success (RFC 3461 section 5.2.7), and by whom."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import TestCase

from mailrelay.config.transports import RelayHostSection
from mailrelay.net.tls import TLSLevel
from mailrelay.queue.store import StoreUnavailable
from mailrelay.testing.loopback import USER
from mailrelay.testing.scripted_server import Answers, ScriptedServer, polite
from tests.integration.test_aliases import LIST, OTHER, STRANGER, Place
from tests.integration.world import accepted, start_world

ANN = "ann@example.net"
EVERYTHING = "SUCCESS,FAILURE,DELAY"


class TakenTests(TestCase):
    """An alias on a whole server; who writes is outside, and so are some of its members."""

    timeout = 60

    async def place(self, **answers: Answers) -> Place:
        """A server that sends through one that gives ``answers``."""
        outside = await ScriptedServer.start(self, reactor, polite(**answers))
        server = await start_world(
            self,
            reactor,
            roles=("mx",),
            relay_host=RelayHostSection("127.0.0.1", outside.port, tls=TLSLevel.NONE),
        )
        control = server.control()
        self.addCleanup(control.close)
        return Place(server, control, outside)

    async def post(self, place: Place, notify: str, sender: str = STRANGER) -> bytes:
        """The answer to the content of a message that asks for ``notify``."""
        replies = await place.server.say(
            b"EHLO client.test",
            b"MAIL FROM:<%s> RET=FULL ENVID=mine" % sender.encode(),
            b"RCPT TO:<%s> NOTIFY=%s ORCPT=rfc822;asked@client.test"
            % (LIST.encode(), notify.encode()),
            b"DATA",
            b"From: %s\r\nSubject: hello\r\n\r\nthe body\r\n." % STRANGER.encode(),
        )
        self.assertEqual({reply[:3] for reply in replies[1:4]}, {b"250"}, replies)
        return replies[-1].rstrip()

    async def reports(self, place: Place) -> Sequence[bytes]:
        """The DSNs that went out, once the queue is empty."""
        await place.gone()
        return [one for one in place.outside.contents if b"delivery-status" in one]

    async def test_expanded(self) -> None:
        """One report tells of the alias, and of no member; members' copies tell of no success."""
        place = await self.place()
        await place.alias(LIST, USER, OTHER, ANN, post_public=True)
        await self.post(place, EVERYTHING)
        [report] = await self.reports(place)
        self.assertIn(b"\r\nTo: <stranger@client.test>\r\n", report)
        self.assertIn(b"\r\nOriginal-Envelope-Id: mine\r\n", report)
        block = report.partition(b"Original-Recipient")[2].partition(b"\r\n--")[0].decode()
        self.assertEqual(
            block.splitlines(),
            [
                ": rfc822;asked@client.test",
                f"Final-Recipient: rfc822; {LIST}",
                "Action: expanded",
                "Status: 2.0.0",
            ],
        )
        for member in (USER, OTHER, ANN):
            self.assertNotIn(member.encode(), report)
        self.assertNotIn(b"the body", report)
        copy = next(line for line in place.outside.lines if b"<ann@" in line)
        self.assertNotIn(b"NOTIFY", copy)
        self.assertEqual(len(await place.kept(2)), 2)

    async def test_list(self) -> None:
        """A list is where the sender's mail ends (section 5.2.7.1): it was delivered."""
        place = await self.place()
        await place.alias(LIST, ANN, post_public=True, is_list=True)
        await self.post(place, EVERYTHING)
        [report] = await self.reports(place)
        self.assertEqual(re.findall(rb"\r\nAction: (\w+)", report), [b"delivered"])
        self.assertNotIn(b"ann@", report)

    async def test_one_member(self) -> None:
        """An alias for one mailbox leaves it to that (section 5.2.7.2)."""
        place = await self.place()
        await place.alias(LIST, USER, post_public=True)
        await self.post(place, "SUCCESS")
        [report] = await self.reports(place)
        self.assertEqual(re.findall(rb"\r\nAction: (\w+)", report), [b"delivered"])
        self.assertIn(b"\r\nFinal-Recipient: rfc822; list@example.org\r\n", report)

    async def test_nobody_to_tell(self) -> None:
        """Neither who has no address, nor who did not ask."""
        place = await self.place()
        await place.alias(LIST, USER, OTHER, post_public=True)
        await self.post(place, EVERYTHING, sender="")
        await self.post(place, "FAILURE,DELAY")
        await self.post(place, "NEVER")
        self.assertEqual(await self.reports(place), [])
        self.assertEqual(len(await place.kept(6)), 6)

    async def test_refused(self) -> None:
        """What was not taken is told of by its reply alone."""
        place = await self.place()
        await place.alias(LIST, USER, OTHER)
        self.assertEqual((await self.post(place, EVERYTHING))[:9], b"550 5.7.2")
        self.assertEqual(await self.reports(place), [])

    async def test_store_fails(self) -> None:
        """When no copy can be stored none is, nobody is told, and the sender is to come again."""
        place = await self.place()
        await place.alias(LIST, USER, OTHER, ANN, post_public=True)
        store = place.server.server._acceptance.store
        for error, reply in (
            (StoreUnavailable("full"), b"452 4.3.1"),
            (ValueError("something else"), b"451 4.3.0"),
        ):

            def failing(*given: Any, error: Exception = error) -> Deferred[None]:
                return fail(error)

            with patch.object(store, "add", failing):
                self.assertEqual((await self.post(place, EVERYTHING))[:9], reply)
            self.assertEqual(accepted(place.server), 0)
            self.assertEqual(await self.reports(place), [])
        self.flushLoggedErrors(ValueError)
        self.assertEqual((await self.post(place, EVERYTHING))[:3], b"250")
        self.assertEqual(len(await place.kept(2)), 2)
