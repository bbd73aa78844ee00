"""Messages that are sent again."""

from __future__ import annotations

from typing import Any

from mailrelay.testing.loopback import USER
from tests.integration.webapi.v1.client import Client, ClientCase
from tests.integration.webapi.v1.test_raw import raw

WAITING = "x-temperror@localhost"
FAILING = "x-permerror@localhost"


class ResendTests(ClientCase):
    """POST /messages/{id}/resend."""

    async def sent(self, client: Client, to: str = WAITING, **fields: Any) -> Any:
        """A message that is ours."""
        answered = await client.ask("POST", "/messages/raw", {**raw(to=[to]), **fields})
        self.assertEqual(answered.status, 202, answered)
        return answered.json

    async def test_to_others(self) -> None:
        """The same content under a new Message-ID, with what was wished for; once for each key."""
        client = await self.client()
        extra = [{"name": "order", "value": "7"}]
        before = await self.sent(client, tags=["a"], extra=extra)
        path, to = f"/messages/{before['id']}/resend", {"to": ["joe@example.net"]}
        answered = await client.ask("POST", path, to, {"Idempotency-Key": "k"})
        self.assertEqual(answered.status, 202, answered)
        again = await client.ask("POST", path, to, {"Idempotency-Key": "k"})
        self.assertEqual(again.body, answered.body)
        after = answered.json
        self.assertNotEqual(after["message_id"], before["message_id"])
        self.assertEqual([one["recipient"] for one in after["entries"]], ["joe@example.net"])
        [found] = await self.arrived(client.http, 1)
        content = await self.raw(client.http, found.id)
        self.assertIn(b"Message-ID: " + after["message_id"].encode(), content)
        self.assertNotIn(before["message_id"].encode(), content)
        self.assertIn(b"h\xc3\xa9llo", content)
        told = (await client.ask("GET", f"/messages/{after['id']}")).json
        self.assertEqual((told["tags"], told["extra"]), (["a", "eu"], extra))

    async def test_to_the_same(self) -> None:
        """Its recipients get it once more, and a large one is read piece by piece."""
        client = await self.client()
        content = b"From: <%s>\r\nSubject: x\r\n\r\n%s" % (
            USER.encode(),
            b"0123456789\r\n" * 50_000,
        )
        before = await self.sent(client, raw=raw(content)["raw"])
        answered = await client.ask("POST", f"/messages/{before['id']}/resend", {})
        self.assertEqual(answered.status, 202, answered)
        [entry] = answered.json["entries"]
        self.assertEqual(entry["recipient"], WAITING)
        told = (await client.ask("GET", f"/messages/{answered.json['id']}")).json
        self.assertGreater(told["size_bytes"], 600_000)

    async def test_not_there(self) -> None:
        """What was delivered to others only is not kept; another's is not there."""
        client = await self.client()
        before = await self.sent(client, "joe@example.net")
        [found] = await self.arrived(client.http, 1)
        path = f"/messages/{before['id']}/resend"
        self.assertEqual((await client.ask("POST", path, {})).status, 202)  # a copy is there
        for id_ in (before["id"] + 1_000_000, found.id):
            answered = await client.ask("POST", f"/messages/{id_}/resend", {})
            self.assertEqual(answered.status, 404, answered)

    async def test_key(self) -> None:
        """Who may only send does not get to read what was sent before."""
        client = await self.client()
        before = await self.sent(client)
        path = f"/messages/{before['id']}/resend"
        made = await client.ask("POST", "/keys", {"name": "x", "scopes": ["send"]})
        sending = client.with_key(made.json["key"])
        self.assert_problem(
            await sending.ask("POST", path, {"to": ["joe@example.net"]}), 403, "not_allowed", "to"
        )
        self.assertEqual((await sending.ask("POST", path, {})).status, 202)

    async def test_mistakes(self) -> None:
        """Each is told of."""
        client = await self.client()
        before = await self.sent(client)
        path = f"/messages/{before['id']}/resend"
        for body, status in (
            ({"to": ["x"]}, 400),
            ({"to": ["a@b.example\r\nBcc: x@y.example"]}, 400),
            ({"to": "a@b.example"}, 400),
            ({"raw": "x"}, 400),
            ({"to": [f"a{i}@b.example" for i in range(1001)]}, 400),
        ):
            answered = await client.ask("POST", path, body)
            self.assertEqual(answered.status, status, answered)
