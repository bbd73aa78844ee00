"""Messages handed to a Zotonic relay: what is posted, and what each literal answer means."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from mailrelay.directory.peers import Peer, PeerKey, PeerProtocol
from mailrelay.message.edit import Edit
from mailrelay.net.http import CallFailed, HTTPAnswer
from mailrelay.net.threads import AtOnce
from mailrelay.peering.standing import Standing
from mailrelay.peering.submission import Contents
from mailrelay.peering.transport import PeerTransport
from mailrelay.peering.zotonic_submission import (
    NOT_TEXT,
    TOO_LARGE,
    ZotonicSubmitter,
    mail_text,
)
from mailrelay.queue.entry import Content
from mailrelay.queue.outcome import Deferral, HandedOver, PermanentFailure
from mailrelay.queue.transport import Result
from tests.peering import zotonic_peer as site
from tests.peering.asked import MESSAGE, NOW, RememberedRequests, entry_to, job_of

URL = "https://relay.test/api/model/email_relay/post/relay"
PLACE = "https://us.test/relay/zotonic/0123"
KEYS = [PeerKey("k", site.SECRET, True, 0.0), PeerKey("t", b"their-secret", False, 0.0)]
HUB = Peer(7, "hub", PeerProtocol.ZOTONIC, URL, keys=KEYS)
BODY = (
    "Subject: Gr\u00fc\u00dfe\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nh\u00f6\r\n"
).encode()


@define
class FakeSite:
    """A relay that gives literal answers."""

    answers: list[HTTPAnswer | str]
    said: list[tuple[str, Mapping[str, str], bytes]] = field(factory=list)

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, timeout: float
    ) -> HTTPAnswer:
        """See Poster."""
        self.said.append((url, headers, body))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, str):
            raise CallFailed(answer)
        return answer

    @property
    def bodies(self) -> list[Any]:
        """What was posted."""
        return [json.loads(body) for _, _, body in self.said]


@define
class Handing:
    """The transport to HUB, and all that it stands on."""

    site: FakeSite
    content: Content = Content(b"", BODY, None, len(BODY))
    requests: RememberedRequests = field(factory=RememberedRequests)
    spool: bytes = b""
    hub: Peer = HUB
    transport: PeerTransport = field(init=False)
    standing: Standing = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Compose it."""

        async def poster(peer: Peer) -> FakeSite:
            return self.site

        def read_spool(name: str, offset: int, size: int) -> Deferred[bytes]:
            return succeed(self.spool[offset : offset + size])

        self.standing = Standing(lambda: 0.0, lambda: NOW)
        submitter = ZotonicSubmitter(
            "us.test",
            poster,
            self.requests,
            Contents(lambda id_: succeed(self.content), read_spool),
            AtOnce(),
            lambda: NOW,
            lambda peer: PLACE,
        )
        submitters = {PeerProtocol.ZOTONIC: submitter}
        self.transport = PeerTransport(
            lambda: {"hub": self.hub}, submitters, self.standing, self.requests, lambda: NOW
        )


JOE, ANN = entry_to(1, "joe"), entry_to(2, "ann")
QUEUED = site.answer(200, site.QUEUED)


class Attempting(SynchronousTestCase):
    """Attempts at a Zotonic relay."""

    def attempted(self, handing: Handing, *entries: Any) -> Result:
        """What came of one attempt."""
        result: Result = self.successResultOf(handing.transport.attempt(job_of(*entries)))
        self.assertEqual(len(result.outcomes), len(entries))
        self.flushLoggedErrors()
        return result

    def test_posted(self) -> None:
        """One request for each recipient, with four fields, and the secret in the query."""
        handing = Handing(FakeSite([QUEUED]))
        result = self.attempted(handing, JOE, ANN)
        for outcome in result.outcomes:
            self.assertIsInstance(outcome, HandedOver)
            self.assertEqual(outcome.reply.text, "hub has it as k9x2c4v6b8n1m3q5w7e0")
        self.assertEqual(
            {url for url, _, _ in handing.site.said}, {f"{URL}?s={site.SECRET_IN_QUERY}"}
        )
        for _, headers, _ in handing.site.said:
            self.assertEqual(headers["Content-Type"], "application/json")
            self.assertEqual(headers["Accept"], "application/json")
        first, second = handing.site.bodies
        self.assertEqual(set(first), {"message_nr", "recipient", "email", "webhook_url"})
        self.assertEqual(
            (first["message_nr"], first["recipient"]), ("1@us.test", "joe@remote.test")
        )
        self.assertEqual(
            (second["message_nr"], second["recipient"]), ("2@us.test", "ann@remote.test")
        )
        self.assertEqual(first["webhook_url"], PLACE)
        head, _, body = first["email"].partition("\r\n\r\n")
        self.assertIn(f"\r\nMessage-Id: <{MESSAGE.id}@us.test>\r\n", head)
        self.assertIn("Content-Transfer-Encoding: quoted-printable", head)
        self.assertEqual(body, "h=C3=B6\r\n")

    def test_own_copy(self) -> None:
        """What an alias changed in a member's copy is changed here, too."""
        member = b"From: <secret@member.test>\r\n"
        whole = member + b"Message-ID: <1@x.test>\r\n\r\nhi\r\n"
        edit = Edit(
            b"Delivered-To: list@us.test\r\n", ((0, len(member), b"From: <list@us.test>\r\n"),)
        )
        for content in (
            Content(b"", whole, None, len(whole)),
            Content(b"", None, "spooled", len(whole)),
        ):
            handing = Handing(FakeSite([QUEUED]), content, spool=whole)
            self.attempted(handing, evolve(JOE, edit=edit))
            [posted] = handing.site.bodies
            self.assertEqual(
                posted["email"],
                "Delivered-To: list@us.test\r\nFrom: <list@us.test>\r\n"
                "Message-ID: <1@x.test>\r\n\r\nhi\r\n",
            )

    def test_number(self) -> None:
        """It is the same for every attempt, and what was answered is not asked again."""
        handing = Handing(FakeSite([site.answer(500, site.EMAIL), QUEUED]))
        self.assertIsInstance(self.attempted(handing, JOE).outcomes[0], Deferral)
        self.assertIsInstance(self.attempted(handing, JOE).outcomes[0], HandedOver)
        self.assertEqual({body["message_nr"] for body in handing.site.bodies}, {"1@us.test"})
        # The outcome could not be recorded, say: the relay has it all the same.
        self.assertIsInstance(self.attempted(handing, JOE).outcomes[0], HandedOver)
        self.assertEqual(len(handing.site.said), 2)

    def test_answers(self) -> None:
        """Only a receipt is one; each other answer has its place, and no secret is told."""
        echo = b'{"status":"error","error":"no ?s=' + site.SECRET_IN_QUERY.encode() + b' here"}'
        for answer, kind, alarm in (
            (QUEUED, HandedOver, False),
            (site.answer(200, site.QUEUED_BEFORE), HandedOver, False),
            (site.answer(200, site.NO_RECEIPT), Deferral, False),
            (site.answer(200, site.LOGIN_PAGE), Deferral, False),
            (site.answer(200, b""), Deferral, False),
            (site.answer(200, b"[" * 9000), Deferral, False),
            (evolve(QUEUED, is_whole=False), Deferral, False),
            (site.answer(200, site.NOT_SENT), Deferral, False),
            (site.answer(200, site.REFUSED), Deferral, False),
            (site.answer(202, site.QUEUED), Deferral, False),
            (site.answer(302, site.QUEUED), Deferral, False),
            (site.answer(400, site.PAYLOAD), PermanentFailure, False),
            (site.answer(403, site.EACCES), Deferral, True),
            (site.answer(404, site.ENOENT), Deferral, True),
            (site.answer(403, echo), Deferral, True),
            (site.answer(413, b""), Deferral, False),
            (site.answer(429, b""), Deferral, False),
            (site.answer(500, site.EMAIL), Deferral, False),
            (site.answer(503, echo), Deferral, False),
            ("no answer within 60 seconds", Deferral, False),
            (f"cannot ask {URL}?s={site.SECRET_IN_QUERY}", Deferral, False),
        ):
            handing = Handing(FakeSite([answer]))
            result = self.attempted(handing, JOE)
            self.assertIs(type(result.outcomes[0]), kind, answer)
            self.assertEqual(bool(handing.standing.alarms), alarm, answer)
            self.assertNotIn("local error", str(result.outcomes[0]), answer)
            for told in (str(result), str(handing.requests), str(handing.standing)):
                self.assertNotIn("sesame", told)

    def test_away(self) -> None:
        """Who does not answer for one recipient is not asked for the next."""
        handing = Handing(FakeSite(["refused"]))
        result = self.attempted(handing, JOE, ANN)
        self.assertEqual([type(one) for one in result.outcomes], [Deferral, Deferral])
        self.assertTrue(result.host_failed)
        self.assertEqual(len(handing.site.said), 1)

    def test_no_secret(self) -> None:
        """Without a secret of ours nothing is asked."""
        handing = Handing(FakeSite([QUEUED]), hub=evolve(HUB, keys=KEYS[1:]))
        self.assertIsInstance(self.attempted(handing, JOE).outcomes[0], Deferral)
        self.assertEqual(handing.site.said, [])

    def test_large(self) -> None:
        """What does not fit fails for good; what does is read from the spool."""
        large = evolve(JOE, message=evolve(MESSAGE, size_bytes=32 * 1024 * 1024))
        result = self.attempted(Handing(FakeSite([QUEUED])), large)
        self.assertEqual(result.outcomes, [PermanentFailure(TOO_LARGE)])
        spool = b"Subject: x\r\n\r\n" + b'"' * (17 * 1024 * 1024)  # each is two characters
        content = Content(b"", None, "name", len(spool))
        message = evolve(MESSAGE, size_bytes=len(spool))
        for body, kind in ((spool, PermanentFailure), (spool[: 2**20], HandedOver)):
            handing = Handing(FakeSite([QUEUED]), content, spool=body)
            result = self.attempted(handing, evolve(JOE, message=message))
            self.assertIs(type(result.outcomes[0]), kind)

    def test_signed_bytes(self) -> None:
        """What must not be changed and is no text fails, and says so."""
        signed = b"Content-Type: multipart/signed; boundary=y\r\n\r\n--y\r\n\r\n\xff\r\n--y--\r\n"
        handing = Handing(FakeSite([QUEUED]), Content(b"", signed, None, len(signed)))
        self.assertEqual(self.attempted(handing, JOE).outcomes, [PermanentFailure(NOT_TEXT)])
        self.assertEqual(handing.site.said, [])

    def test_own_message_id(self) -> None:
        """A message that has one keeps it."""
        content = b"message-ID: <1@a>\r\n\r\nhi"
        self.assertEqual(mail_text(content, "2@b"), content.decode())
