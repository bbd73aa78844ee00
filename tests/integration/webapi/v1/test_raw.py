"""Finished messages, sent by an application."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

from mailrelay.control.queue import EntryFilter
from mailrelay.testing.loopback import USER
from tests.integration.webapi.v1.client import ClientCase

BCC = b"Bcc: blind@example.net\r\n"
CONTENT = (
    b"From: The shop <%s>\r\nTo: joe@example.net\r\n%sSubject: =?utf-8?q?=C3=BC?=\r\n"
    b"X-Mailrelay-Tags: eu\r\n\r\nh\xc3\xa9llo\r\n" % (USER.encode(), BCC)
)


def raw(content: bytes = CONTENT, **fields: object) -> dict[str, Any]:
    """A request."""
    data = b64encode(content).decode()
    return {"from": USER, "to": ["joe@example.net", "blind@example.net"], "raw": data, **fields}


class RawTests(ClientCase):
    """POST /messages/raw."""

    async def test_message(self) -> None:
        """It arrives as it was made, without Bcc, with what it lacked; its fields are heard."""
        client = await self.client()
        asked = raw(tags=["welcome"], extra=[{"name": "order", "value": "7"}], priority="high")
        answered = await client.ask("POST", "/messages/raw", asked, {"Idempotency-Key": "k"})
        self.assertEqual(answered.status, 202, answered)
        again = await client.ask("POST", "/messages/raw", asked, {"Idempotency-Key": "k"})
        self.assertEqual(again.body, answered.body)
        self.assertEqual(again.headers["idempotency-replayed"], "true")
        recipients = [one["recipient"] for one in answered.json["entries"]]
        self.assertEqual(recipients, ["joe@example.net", "blind@example.net"])
        found = await self.arrived(client.http, 2)
        content = await self.raw(client.http, found[0].id)
        self.assertIn(CONTENT.replace(BCC, b""), content)
        self.assertIn(b"\r\nMessage-ID: " + answered.json["message_id"].encode(), content)
        self.assertIn(b"\r\nDate: ", content)
        told = (await client.ask("GET", f"/messages/{answered.json['id']}")).json
        self.assertEqual((told["tags"], told["priority"]), (["welcome", "eu"], "high"))
        self.assertEqual(told["extra"], [{"name": "order", "value": "7"}])

    async def test_large(self) -> None:
        """Megabytes are read piece by piece, and a time ahead is kept."""
        client = await self.client()
        at = client.http.server.server._s.now() + 300 * 86400
        content = CONTENT + b"0123456789abcdef\r\n" * 200_000
        when = datetime.fromtimestamp(at, UTC).isoformat()
        answered = await client.ask("POST", "/messages/raw", raw(content, send_at=when))
        self.assertEqual(answered.status, 202, answered)
        [one, _] = await self.control(client.http).queue.find(EntryFilter())
        self.assertGreater(one.entry.message.size_bytes, 3_600_000)
        self.assertLess(abs(one.entry.queued_at - at), 2)

    async def test_mistakes(self) -> None:
        """Each is told of, and nothing is queued."""
        client = await self.client()
        invalid, refused = (400, "invalid_field"), (422, "not_accepted")
        for changes, expected, field in (
            ({"raw": "!"}, invalid, "raw"),
            ({"raw": ""}, invalid, "raw"),
            (raw(CONTENT.replace(b"\r\n", b"\n")), invalid, "raw"),
            (raw(CONTENT + b"\0"), invalid, "raw"),
            ({"to": []}, invalid, "to"),
            ({"to": ["a@x.example", "x"]}, invalid, "to[1]"),
            ({"from": ""}, invalid, "from"),
            ({"from": "other@example.org"}, (403, "not_allowed"), "from"),
            ({"tags": ["eu"]}, refused, ""),
            ({"tags": ["a", "a"]}, invalid, "tags[1]"),
            (raw(CONTENT.replace(USER.encode(), b"x@elsewhere.example")), refused, ""),
            (raw(b"Subject: no From\r\n\r\nx"), refused, ""),
            (raw(b"X: y\r\n" * 1100 + CONTENT), refused, ""),
            (raw(b"Received: x\r\n" * 60 + CONTENT), refused, ""),
        ):
            answered = await client.ask("POST", "/messages/raw", {**raw(), **changes})
            self.assert_problem(answered, *expected, field)
        self.assertEqual(await self.control(client.http).queue.find(EntryFilter()), [])

    async def test_of_a_key(self) -> None:
        """A key sends for whom it is for, in the envelope and in From."""
        client = await self.client()
        wanted = {"name": "app", "scopes": ["send"], "senders": ["dash.example"]}
        keyed = client.with_key((await client.ask("POST", "/keys", wanted)).json["key"])
        answered = await keyed.ask("POST", "/messages/raw", raw())
        self.assert_problem(answered, 403, "not_allowed", "from")
        own = {**raw(), "from": "user@dash.example"}
        self.assert_problem(await keyed.ask("POST", "/messages/raw", own), 422, "not_accepted")
        content = CONTENT.replace(USER.encode(), b"user@dash.example")
        own = {**raw(content), "from": "user@dash.example"}
        self.assertEqual((await keyed.ask("POST", "/messages/raw", own)).status, 202)
