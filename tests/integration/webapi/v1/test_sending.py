"""Messages that are sent."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime
from email import message_from_bytes, policy
from typing import Any

from mailrelay.control.queue import EntryFilter
from mailrelay.testing.loopback import USER
from tests.integration.webapi.v1.client import Client, ClientCase

LETTER: dict[str, object] = {
    "from": {"address": USER, "name": "Ünï"},
    "to": [{"address": "someone@example.net"}],
    "subject": "hello",
    "text": "hi\n",
}


class SendingTests(ClientCase):
    """POST /messages."""

    async def sent(self, client: Client, **fields: object) -> Any:
        """The answer to a message that must be taken."""
        answered = await client.ask("POST", "/messages", {**LETTER, **fields})
        self.assertEqual(answered.status, 202, answered)
        return answered.json

    async def arrived_as(self, client: Client, **fields: object) -> Any:
        """A message that was sent, parsed as it arrived."""
        await self.sent(client, **fields)
        [message] = await self.arrived(client.http)
        content = await self.raw(client.http, message.id)
        return message_from_bytes(content, policy=policy.default)

    async def test_message(self) -> None:
        """What was said arrives, and the answer names message and entries."""
        client = await self.client()
        answer = await self.sent(client, cc=[{"address": "two@example.net"}])
        self.assertEqual(
            [one["recipient"] for one in answer["entries"]],
            ["someone@example.net", "two@example.net"],
        )
        self.assertRegex(answer["message_id"], r"^<.+@mx\.example\.org>$")
        found = await self.arrived(client.http, 2)
        content = await self.raw(client.http, found[0].id)
        message: Any = message_from_bytes(content, policy=policy.default)
        self.assertEqual(message["message-id"], answer["message_id"])
        self.assertEqual((message["from"], message["cc"]), (f"Ünï <{USER}>", "two@example.net"))
        self.assertEqual((message["subject"], message.get_content()), ("hello", "hi\r\n"))

    async def test_files(self) -> None:
        """A file with a content id is in line, others are attached; blind copies stay so."""
        client = await self.client()
        picture = {"data": b64encode(b"\x89PNG\r\n\x1a\nxx").decode(), "content_id": "<pic@x>"}
        note = {"data": b64encode(b"note").decode(), "name": "a.txt", "content_type": "text/plain"}
        message = await self.arrived_as(
            client,
            to=[],
            bcc=[{"address": "blind@example.net"}],
            html='<img src="cid:pic@x">',
            attachments=[note, picture],
            headers=[{"name": "X-App", "value": "7"}],
        )
        self.assertEqual(message["x-app"], "7")
        self.assertNotIn(b"blind@", b"".join(str(message[n]).encode() for n in ("to", "cc", "bcc")))
        parts = {part.get_content_type(): part for part in message.walk()}
        self.assertEqual(parts["image/png"]["content-id"], "<pic@x>")
        self.assertEqual([part.get_filename() for part in message.iter_attachments()], ["a.txt"])

    async def test_a_year_ahead(self) -> None:
        """A message may wait a year, and no longer."""
        client = await self.client()
        now = client.http.server.server._s.now()
        answer = await self.sent(client, send_at=_time(now + 360 * 86400))
        control = self.control(client.http)
        [view] = await control.queue.find(EntryFilter())
        self.assertEqual(view.entry.id, answer["entries"][0]["id"])
        self.assertLess(abs(view.entry.queued_at - now - 360 * 86400), 2)
        late = await client.ask(
            "POST", "/messages", {**LETTER, "send_at": _time(now + 370 * 86400)}
        )
        self.assert_problem(late, 400, "invalid_field", "send_at")

    async def test_what_is_done_to_a_time_ahead(self) -> None:
        """A message that waits for its time may be held, put elsewhere, and canceled."""
        client = await self.client()
        now = client.http.server.server._s.now()
        when = [datetime.fromtimestamp(now + days * 86400, UTC) for days in (360, 300)]
        sent = await self.sent(client, send_at=when[0].isoformat(), priority="high")
        path = f"/entries/{sent['entries'][0]['id']}"

        async def entry(change: str, body: object = None) -> tuple[str, int, int]:
            answered = await client.ask("POST", f"{path}/{change}", body)
            self.assertEqual(answered.status, 200, answered)
            told = answered.json
            due, begins = told["next_attempt_at"], told["queued_at"]
            days = (round((_seconds(at) - now) / 86400) if at else 0 for at in (begins, due))
            return (told["state"], *days)

        self.assertEqual(await entry("hold"), ("held", 360, 360))
        self.assertEqual(await entry("release"), ("ready", 360, 360))
        at = {"at": when[1].isoformat()}
        self.assertEqual(await entry("reschedule", at), ("ready", 300, 300))
        self.assertEqual(await entry("cancel"), ("canceled", 300, 0))

    async def test_tags_and_priority(self) -> None:
        """A message is listed with its tags, and found by each; its priority is kept."""
        client = await self.client()
        one = (await self.sent(client, tags=["welcome", "eu/west"], priority="high"))["id"]
        two = (await self.sent(client, tags=["eu/west"]))["id"]
        for tag, expected in (("welcome", [one]), ("eu/west", [two, one]), ("eu", [])):
            found = (await client.ask("GET", f"/messages?tag={tag}")).json["messages"]
            self.assertEqual([message["id"] for message in found], expected)
        message = (await client.ask("GET", f"/messages/{one}")).json
        self.assertEqual((message["tags"], message["priority"]), (["welcome", "eu/west"], "high"))
        message = (await client.ask("GET", f"/messages/{two}")).json
        self.assertEqual(message["priority"], "normal")

    async def test_mistakes(self) -> None:
        """Each mistake names its field; nothing is queued."""
        client = await self.client()
        bad = "x\r\nBcc: y@example.net"
        for changes, field in (
            ({"from": {"address": "x"}}, "from.address"),
            ({"to": [{"address": "a@x.example"}, {"address": "x"}]}, "to[1].address"),
            ({"to": [{"address": "a@x.example", "name": bad}]}, "to[0].name"),
            ({"to": []}, "to"),
            ({"text": ""}, "text"),
            ({"subject": bad}, "subject"),
            ({"subject": "x\u2028y"}, "subject"),
            ({"headers": [{"name": "A B", "value": ""}]}, "headers[0]"),
            ({"headers": [{"name": "X-A", "value": bad}]}, "headers[0]"),
            ({"attachments": [{"data": "!"}]}, "attachments[0].data"),
            ({"attachments": [{"data": "", "name": bad}]}, "attachments[0].name"),
            ({"extra": [{"name": "a", "value": bad}]}, "extra[0].value"),
            ({"extra": [{"name": "a", "value": ""}] * 2}, "extra[1].name"),
            ({"reply_to": [{"address": "a@b@c"}]}, "reply_to[0].address"),
            ({"send_at": "2026-11-21"}, "send_at"),
            ({"tags": ["a", "b", "a"]}, "tags[2]"),
            ({"tags": ["a", "a,b"]}, "tags[1]"),
            ({"tags": ["a\n"]}, "tags[0]"),
            ({"tags": [f"t{n}" for n in range(21)]}, "tags"),
            ({"priority": "urgent"}, "priority"),
            ({"bbc": []}, "bbc"),
        ):
            answered = await client.ask("POST", "/messages", {**LETTER, **changes})
            self.assert_problem(answered, 400, "invalid_field", field)
        control = self.control(client.http)
        self.assertEqual(await control.queue.find(EntryFilter()), [])

    async def test_from(self) -> None:
        """The sender is the account's own, and one that the key is for."""
        client = await self.client()
        for address in ("other@example.org", "user@off.example", "x@elsewhere.example"):
            letter = {**LETTER, "from": {"address": address}}
            answered = await client.ask("POST", "/messages", letter)
            self.assert_problem(answered, 403, "not_allowed", "from.address")
        wanted = {"name": "app", "scopes": ["send"], "senders": ["dash.example"]}
        key = (await client.ask("POST", "/keys", wanted)).json["key"]
        keyed = client.with_key(key)
        answered = await keyed.ask("POST", "/messages", LETTER)
        self.assert_problem(answered, 403, "not_allowed", "from.address")
        await self.sent(keyed, **{"from": {"address": "user@dash.example"}})

    async def test_limits(self) -> None:
        """An account's daily messages are counted here, too."""
        client = (await self.client()).logged_in("full@example.org", "123456789")
        letter = {**LETTER, "from": {"address": "full@example.org"}}
        for _ in range(2):
            self.assertEqual((await client.ask("POST", "/messages", letter)).status, 202)
        answered = await client.ask("POST", "/messages", letter)
        self.assert_problem(answered, 429, "sending_limit_reached")

    async def test_large(self) -> None:
        """Megabytes are decoded elsewhere; what is too large is refused."""
        client = await self.client()
        data = b64encode(b"x" * 3_000_000).decode()
        await self.sent(client, attachments=[{"data": data, "name": "x"}])
        [message] = await self.arrived(client.http)
        self.assertGreater(message.size_bytes, 4_000_000)


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
