"""Who is believed: threats 25 and 26 on a real server."""

from __future__ import annotations

import time

from mailrelay.control.peers import PeerDetails
from tests.integration.peering.peer_client import (
    CONTENT,
    KEY_ID,
    MESSAGE,
    PeerCase,
    body_of,
)

PING = "/relay/v1/ping"


class DoorTests(PeerCase):
    """Each thing that may be wrong with a request."""

    async def test_ping(self) -> None:
        """The key works, what is taken is told, and the answer is signed."""
        signer = await self.signer()
        answered = await signer.ask("GET", PING)
        self.assertEqual((answered.status, answered.is_signed), (200, True), answered)
        self.assertEqual(answered.json["server_id"], self.server.server.stores.server_id)
        self.assertEqual(answered.json["limits"]["max_recipients"], 1000)
        self.assertTrue(answered.json["takes_mail"])

    async def test_strangers(self) -> None:
        """A wrong secret and an unknown key get the same answer, which nobody signed."""
        signer = await self.signer()
        signer.secret = bytes(32)
        wrong = await signer.post("k1")
        signer.key_id = "nobody"
        unknown = await signer.post("k1")
        for answered in (wrong, unknown):
            self.assertEqual((answered.status, answered.body), (401, wrong.body))
            self.assertNotIn("mailrelay-response-signature", answered.headers)
        self.assertEqual(self.messages(), [])

    async def test_many_failures(self) -> None:
        """An address that fails again and again is not judged any more for a while."""
        signer = await self.signer()
        signer.secret = bytes(32)
        for _ in range(10):
            self.assertEqual((await signer.ask("GET", PING)).status, 401)
        refused = await signer.ask("GET", PING)
        self.assertEqual((refused.status, refused.headers["retry-after"]), (429, "60"))

    async def test_skew(self) -> None:
        """A request is believed for 300 seconds, either way."""
        signer = await self.signer()
        for skew, status in ((-290, 200), (290, 200), (-310, 401), (310, 401)):
            signer.skew = skew
            self.assertEqual((await signer.ask("GET", PING)).status, status, skew)

    async def test_disabled(self) -> None:
        """A disabled peer is refused, and told so by a signed answer."""
        signer = await self.signer()
        await self.control.peers.set("sender", PeerDetails(disabled=True))
        await self.seen()
        answered = await signer.ask("GET", PING)
        self.assertEqual((answered.status, answered.is_signed), (403, True))

    async def test_rotated(self) -> None:
        """The old key works beside the new one until it ends."""
        signer = await self.signer()
        made = await self.control.peers.rotate("sender", is_ours=False)
        assert made is not None
        await self.seen()
        self.assertEqual((await signer.ask("GET", PING)).status, 200)
        signer.key_id, signer.secret = made.key.key_id, made.key.secret
        self.assertEqual((await signer.ask("GET", PING)).status, 200)
        await self.control.peers.rotate("sender", is_ours=False, kept_for=0.0)
        await self.seen()
        self.assertEqual((await signer.ask("GET", PING)).status, 401)

    async def test_what_is_signed(self) -> None:
        """Whatever is changed on the way, it is no longer the peer's request."""
        signer = await self.signer()
        raw, signed = signer.request("POST", "/relay/v1/messages", body_of(), "k1", MESSAGE)
        for before, after in (
            (b"hello", b"hallo"),
            (b"Idempotency-Key: k1", b"Idempotency-Key: k2"),
            (b"vnd.mailrelay.message", b"vnd.mailrelay.message;x"),
            (b"/relay/v1/messages", b"/relay/v1/messages?x"),
            (str(int(time.time()))[:9].encode(), str(int(time.time()) - 20)[:9].encode()),
        ):
            self.assertIn(before, raw)
            answered = await signer.send(raw.replace(before, after, 1), signed)
            self.assertEqual(answered.status, 401, before)
        self.assertEqual(self.messages(), [])
        self.assertEqual((await signer.send(raw, signed)).status, 202)

    async def test_not_verified(self) -> None:
        """Who cannot sign gets nothing signed, for whichever request, and learns of no key."""
        signer = await self.signer()
        raw, signed = signer.request("POST", "/relay/v1/messages", body_of(), "k1", MESSAGE)
        told = []
        for key_id in (KEY_ID, "unknown"):
            forged = raw.replace(MESSAGE.encode(), b"text/plain").replace(
                KEY_ID.encode(), key_id.encode()
            )
            answered = await signer.send(forged, signed)
            self.assertFalse(answered.is_signed)
            told.append((answered.status, answered.body, {*answered.headers}))
        self.assertEqual(told[0], told[1])
        self.assertEqual(told[0][0], 415)

    async def test_two_of_a_kind(self) -> None:
        """A field that is signed is there once."""
        signer = await self.signer()
        for more in (
            "Mailrelay-Key: other",
            "Mailrelay-Timestamp: 1",
            "Mailrelay-Signature: v1=00",
            "Idempotency-Key: k2",
            "Content-Type: text/plain",
        ):
            signer.more = [more]
            self.assertEqual((await signer.post("k1")).status, 400, more)
        self.assertEqual(self.messages(), [])

    async def test_not_well_formed(self) -> None:
        """What is missing, or is not what it must be."""
        signer = await self.signer()
        for key in ("", "k" * 129):
            self.assertEqual((await signer.post(key)).status, 400, key)
        bare = b"GET /relay/v1/ping HTTP/1.1\r\nHost: x\r\n\r\n"
        self.assertEqual((await signer.send(bare)).status, 401)
        signer.key_id = "a b"
        self.assertEqual((await signer.ask("GET", PING)).status, 401)
        signer.key_id, signer.more = KEY_ID, ["Content-Encoding: gzip"]
        self.assertEqual((await signer.post("k1")).status, 415)

    async def test_two_lengths(self) -> None:
        """Content-Length and Transfer-Encoding together are refused (threat 26)."""
        signer = await self.signer()
        raw, _ = signer.request("POST", "/relay/v1/messages", body_of(), "k1", MESSAGE)
        for more in (b"Transfer-Encoding: chunked", b"Content-Length: 3"):
            answered = await signer.send(raw.replace(b"\r\n", b"\r\n" + more + b"\r\n", 1))
            self.assertEqual(answered.status, 400, more)
        self.assertEqual(self.messages(), [])

    async def test_chunked(self) -> None:
        """A body of unsaid length is as good."""
        signer = await self.signer()
        body = body_of()
        raw, signed = signer.request("POST", "/relay/v1/messages", body, "k1", MESSAGE)
        head = raw.removesuffix(body).replace(
            f"Content-Length: {len(body)}".encode(), b"Transfer-Encoding: chunked"
        )
        chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
        answered = await signer.send(head + chunks + b"0\r\n\r\n", signed)
        self.assertEqual((answered.status, answered.is_signed), (202, True), answered)
        self.assertIn(b"hello", CONTENT)

    async def test_broken_off(self) -> None:
        """Of a body that breaks off nothing is kept; the whole is taken under its key later."""
        signer = await self.signer()
        raw, _ = signer.request("POST", "/relay/v1/messages", body_of(), "k1", MESSAGE)
        client = await self.server.connect("http")
        client.send(raw[:-10])
        await client.close()
        self.assertEqual((await signer.post("k1")).status, 202)
        self.assertEqual(len(self.messages()), 1)
