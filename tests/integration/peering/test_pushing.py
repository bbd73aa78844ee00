"""A peer that wants to be told: a server of HTTP that checks signatures by itself."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from attrs import define, field
from twisted.internet import reactor as the_reactor
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import Resource
from twisted.web.server import Site
from typing_extensions import override

from mailrelay.control.peers import PeerDetails
from mailrelay.peering import pushing
from mailrelay.storage.peer_mail import DatabasePeerMail
from tests.integration.peering.peer_client import PeerCase, Signer, signature

OUR_SECRET, OUR_KEY = bytes(range(32, 64)), "our-key"
TO = ["user@example.org"]


@define(eq=False)
class Receiver(Resource):
    """Takes events; answers what it is told to."""

    isLeaf = True
    pages: list[Any] = field(factory=list)
    wrong: list[str] = field(factory=list)
    status: int = 200
    is_signed: bool = True
    port: int = 0

    @override
    def render(self, request: HTTPRequest) -> bytes:
        body = request.content.read()  # type: ignore[union-attr]
        headers = {
            name.decode().lower(): values[0].decode()
            for name, values in request.requestHeaders.getAllRawHeaders()
        }
        digest = hashlib.sha256(body).hexdigest()
        lines = ["mailrelay-hmac-v1", "POST", request.path.decode(), "", OUR_KEY]
        lines += [headers["mailrelay-timestamp"], headers["idempotency-key"]]
        signed = signature(OUR_SECRET, [*lines, "application/json", digest])
        if headers["mailrelay-signature"] != f"v1={signed}":
            self.wrong.append(str(headers))
        self.pages.append(json.loads(body))
        answer = json.dumps({"cursor": self.pages[-1]["next"]}).encode()
        lines = ["mailrelay-hmac-v1-response", str(self.status), signed]
        told = signature(OUR_SECRET, [*lines, hashlib.sha256(answer).hexdigest()])
        if self.is_signed:
            request.setHeader("Mailrelay-Response-Signature", f"v1={told}")
        request.setResponseCode(self.status)
        return answer


class PushTests(PeerCase):
    """Events that come by themselves."""

    async def pushed(self, network: str = "127.0.0.0/8") -> tuple[Signer, Receiver]:
        """A server that knows a receiver."""
        self.patch(pushing, "FIRST_PAUSE", 0.05)
        self.patch(pushing, "LOOK_EVERY", 0.05)
        receiver = Receiver()
        endpoint = TCP4ServerEndpoint(the_reactor, 0, interface="127.0.0.1")
        port = await endpoint.listen(Site(receiver))
        self.addCleanup(port.stopListening)
        receiver.port = port.getHost().port
        signer = await self.signer()
        await self.control.peers.rotate(
            "sender", f"{OUR_KEY}:{OUR_SECRET.hex()}", is_ours=True, kept_for=0.0
        )
        options: dict[str, object] = {"allowed_networks": [network]}
        url = f"http://127.0.0.1:{receiver.port}/told"
        await self.control.peers.set("sender", PeerDetails(callback_url=url, options=options))
        await self.seen()
        return signer, receiver

    def position(self) -> int:
        """What the server thinks that the peer has."""
        with self.control.database.engine.connect() as connection:
            found = connection.exec_driver_sql("SELECT our_position FROM peer_state")
            return int(found.scalar_one())

    async def test_pushed(self) -> None:
        """What becomes of mail is told once, signed, and not again when it was taken."""
        signer, receiver = await self.pushed()
        for number in range(3):
            await signer.post(f"k{number}", rcpt_to=TO, not_before=None, msg_id=f"m{number}")
            while sum(len(page["events"]) for page in receiver.pages) <= number:
                await self.soon()
        events = [event for page in receiver.pages for event in page["events"]]
        told = [(event["msg_id"], event["type"]) for event in events]
        self.assertEqual(told, [(f"m{number}", "delivered") for number in range(3)])
        self.assertEqual(receiver.wrong, [])
        while self.position() < receiver.pages[-1]["next"]:
            await self.soon()

    async def test_not_taken(self) -> None:
        """What is refused, or answered by nobody we know, is told again."""
        signer, receiver = await self.pushed()
        receiver.status = 503
        await signer.post("k1", rcpt_to=TO, not_before=None)
        while len(receiver.pages) < 2:
            await self.soon()
        receiver.status, receiver.is_signed = 200, False
        count = len(receiver.pages)
        while len(receiver.pages) < count + 2:
            await self.soon()
        self.assertEqual(self.position(), 0)
        receiver.is_signed = True
        while not self.position():
            await self.soon()
        self.assertEqual({str(page) for page in receiver.pages}, {str(receiver.pages[0])})

    async def test_gone(self) -> None:
        """Where events were removed, it is not looked again and again; what comes is told."""
        looks: list[int] = []
        read = DatabasePeerMail.events

        def counted(mail: DatabasePeerMail, *asked: int) -> Any:
            looks.append(1)
            return read(mail, *asked)

        signer, receiver = await self.pushed()
        await signer.post("k1", rcpt_to=TO, not_before=None)
        while not receiver.pages:
            await self.soon()
        with self.control.database.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE peer_state SET removed_position = 1000000")
        await signer.post("k2", rcpt_to=TO, not_before=None)
        while len(receiver.pages) < 2:
            await self.soon()
        self.patch(DatabasePeerMail, "events", counted)
        for _ in range(20):
            await self.soon()
        self.assertLess(len(looks), 10)

    async def test_inside(self) -> None:
        """A callback URL inside our network is called only where the operator allows it."""
        signer, receiver = await self.pushed("192.0.2.0/24")
        await signer.post("k1", rcpt_to=TO, not_before=None)
        events = await signer.ask("GET", "/relay/v1/events?wait=20")
        self.assertEqual(len(events.json["events"]), 1)
        for _ in range(20):
            await self.soon()
        self.assertEqual(receiver.pages, [])

    async def test_told(self) -> None:
        """What a peer pushes to us is taken, and up to where is answered."""
        signer = await self.signer()
        event = {"seq": 41, "type": "relayed", "msg_id": "nobody's", "rcpt": "b@remote.test"}
        page = json.dumps({"events": [event], "next": 43, "more": False}).encode()
        told = await signer.ask("POST", "/relay/v1/events", page, "p1", "application/json")
        self.assertEqual((told.status, told.is_signed, told.json), (200, True, {"cursor": 43}))
        for body in (b"", b"{}", b"[]", b'{"events":[{"seq":-1,"type":"x"}],"next":1}'):
            refused = await signer.ask("POST", "/relay/v1/events", body, "p2", "application/json")
            self.assertEqual((refused.status, refused.is_signed), (400, True), body)
        with self.control.database.engine.connect() as connection:
            found = connection.exec_driver_sql("SELECT their_position FROM peer_state")
            self.assertEqual(found.scalar_one(), 43)
