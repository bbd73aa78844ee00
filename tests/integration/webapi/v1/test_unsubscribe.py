"""One-click unsubscribing, as a mailbox provider and a person do it."""

from __future__ import annotations

from email import message_from_bytes, policy
from typing import Any
from urllib.parse import urlsplit

from twisted.logger import ILogObserver, LogEvent, eventAsText, globalLogPublisher
from zope.interface import implementer

from mailrelay.web.settings import HTTPSettings
from tests.integration.webapi.api import BOUNDARY, FORM, Answered, Part, multipart
from tests.integration.webapi.v1.client import Client, ClientCase
from tests.integration.webapi.v1.test_sending import LETTER

PUBLIC = HTTPSettings(public_url="https://mail.example.org")
ONE_CLICK = b"List-Unsubscribe=One-Click"
JOE = "joe.x@example.net"


class UnsubscribeTests(ClientCase):
    """From the message to the event."""

    async def link(self, client: Client, count: int = 1, **fields: object) -> str:
        """The path of the link in a message that was sent and arrived."""
        letter = {**LETTER, "to": [{"address": JOE}], "unsubscribe": True, **fields}
        sent = await client.ask("POST", "/messages", letter)
        self.assertEqual(sent.status, 202, sent)
        self.sent: Any = sent.json
        *_, one = await self.arrived(client.http, count)
        content = await self.raw(client.http, one.id)
        message: Any = message_from_bytes(content, policy=policy.compat32)
        self.assertEqual(message["List-Unsubscribe-Post"], "List-Unsubscribe=One-Click")
        [url] = message.get_all("List-Unsubscribe")
        self.assertRegex(url, "^<https://mail.example.org/unsubscribe/[A-Za-z0-9._-]+>$")
        return str(urlsplit(url.strip("<>")).path)

    async def click(
        self, client: Client, path: str, body: bytes = ONE_CLICK, content_type: str = FORM
    ) -> Answered:
        """What a mailbox provider does (RFC 8058 section 3.2): no cookie, no login."""
        return await client.http.ask("POST", path, body, {"Content-Type": content_type})

    async def events(self, client: Client) -> list[Any]:
        """Those of people who unsubscribed."""
        page = await client.ask("GET", "/events?kind=unsubscribed")
        found: list[Any] = page.json["events"]
        return found

    async def test_one_click(self) -> None:
        """The event names the entry, the next message is suppressed, and a second click is none."""
        client = await self.client(http=PUBLIC)
        path = await self.link(client, unsubscribe={"list": "The news"})
        for _ in range(2):
            answered = await self.click(client, path)
            self.assertEqual(answered.status, 200)
            self.assertIn(b"<strong>joe.x@example.net</strong> on the list The news", answered.body)
        [event] = await self.events(client)
        self.assertEqual(event["entry_id"], self.sent["entries"][0]["id"])
        self.assertEqual((event["message_id"], event["list"]), (self.sent["id"], "The news"))
        self.assertEqual((event["recipient"], event["suppressing"]), (JOE, True))
        why = await client.ask("GET", f"/suppressions/why?address={JOE}")
        [one] = why.json["suppressions"]
        self.assertEqual((one["cause"], one["entry_id"]), ("unsubscribe", event["entry_id"]))
        await client.ask("POST", "/messages", {**LETTER, "to": [{"address": "joex@example.net"}]})
        told = await client.ask("GET", "/events?kind=suppressed&wait=30")
        self.assertEqual([e["recipient"] for e in told.json["events"]], ["joex@example.net"])

    async def test_multipart(self) -> None:
        """The body may be a multipart form, as RFC 8058 prefers."""
        client = await self.client(http=PUBLIC)
        path = await self.link(client)
        body = multipart([Part("List-Unsubscribe", b"One-Click")])
        content_type = f"multipart/form-data; boundary={BOUNDARY}"
        answered = await self.click(client, path, body, content_type)
        self.assertEqual((answered.status, len(await self.events(client))), (200, 1))

    async def test_undone(self) -> None:
        """The account may take the address off its list; the link works again."""
        client = await self.client(http=PUBLIC)
        path = await self.link(client)
        await self.click(client, path)
        removed = await client.ask("POST", "/suppressions/remove", {"address": JOE})
        self.assertEqual((removed.status, removed.json["is_suppressed"]), (200, False))
        await self.link(client, 2)
        await self.click(client, path)
        self.assertEqual(len(await self.events(client)), 2)

    async def test_looked_at(self) -> None:
        """A GET changes nothing; the page has a button, and nothing that could do harm."""
        client = await self.client(http=PUBLIC)
        path = await self.link(client, to=[{"address": '"<script>&"@example.net'}])
        for method in ("GET", "HEAD"):
            page = await client.http.ask(method, path)
            self.assertEqual(page.status, 200)
            self.assertEqual(
                page.headers["content-security-policy"],
                "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
            )
            self.assertEqual(page.headers["referrer-policy"], "no-referrer")
            self.assertEqual(page.headers["cache-control"], "no-store")
            self.assertNotIn("set-cookie", page.headers)
        page = await client.http.ask("GET", path)
        self.assertNotIn(b"<script", page.body)
        self.assertIn(b"&lt;script&gt;&amp;", page.body)
        self.assertIn(b'<form method="post">', page.body)
        self.assertIn(b'name="List-Unsubscribe" value="One-Click"', page.body)
        self.assertEqual(await self.events(client), [])

    async def test_not_understood(self) -> None:
        """Another body, another token, another method: a page that says so, and no event."""
        client = await self.client(http=PUBLIC)
        path = await self.link(client)
        for body, content_type in (
            (b"", FORM),
            (b"List-Unsubscribe=Later", FORM),
            (b"list-unsubscribe=One-Click", FORM),
            (ONE_CLICK + b"&" + ONE_CLICK, FORM),
            (ONE_CLICK, "text/plain"),
            (ONE_CLICK + b"&x=" + b"x" * 5000, FORM),
        ):
            answered = await self.click(client, path, body, content_type)
            self.assertEqual(answered.status, 400, body[:50])
        file = multipart([Part("List-Unsubscribe", b"One-Click", filename="x")])
        answered = await self.click(client, path, file, f"multipart/form-data; boundary={BOUNDARY}")
        self.assertEqual(answered.status, 400)
        for other in (path[:-1], path + "A", "/unsubscribe/x", "/unsubscribe/" + "x" * 2000):
            for method in ("GET", "POST"):
                headers = {"Content-Type": FORM}
                said = ONE_CLICK if method == "POST" else None
                answered = await client.http.ask(method, other, said, headers)
                self.assertEqual(answered.status, 404, other)
        answered = await client.http.ask("DELETE", path)
        self.assertEqual((answered.status, answered.headers["allow"]), (405, "GET, HEAD, POST"))
        self.assertEqual(await self.events(client), [])

    async def test_refused(self) -> None:
        """One recipient, no fields of one's own, and a server that knows where it is seen."""
        client = await self.client(http=PUBLIC)
        two = [{"address": JOE}, {"address": "two@example.net"}]
        own = [{"name": "X-A", "value": "x"}, {"name": "List-unsubscribe", "value": "<mailto:a@b>"}]
        for changes, field in (
            ({"to": two}, "unsubscribe"),
            ({"bcc": two[:1]}, "unsubscribe"),
            ({"headers": own}, "headers[1].name"),
            ({"unsubscribe": {}}, "unsubscribe.list"),
            ({"unsubscribe": {"list": "x\ny"}}, "unsubscribe.list"),
            ({"unsubscribe": {"list": "x" * 101}}, "unsubscribe.list"),
            ({"unsubscribe": "yes"}, "unsubscribe"),
        ):
            letter = {**LETTER, "unsubscribe": True, **changes}
            answered = await client.ask("POST", "/messages", letter)
            self.assert_problem(answered, 400, "invalid_field", field)
        own_fields = {**LETTER, "headers": own}
        self.assertEqual((await client.ask("POST", "/messages", own_fields)).status, 202)
        silent = await self.client()
        answered = await silent.ask("POST", "/messages", {**LETTER, "unsubscribe": True})
        self.assert_problem(answered, 409, "no_public_url", "unsubscribe")

    async def test_batch(self) -> None:
        """Each message of a batch has a link of its own; a mistake is its item's."""
        client = await self.client(http=PUBLIC)
        items = [
            {"to": [{"address": f"u{number}@example.net"}], "unsubscribe": True}
            for number in range(3)
        ]
        items[2]["headers"] = [{"name": "List-Unsubscribe", "value": "<mailto:a@b.example>"}]
        letters = [{**LETTER, **item} for item in items]
        answered = await client.ask("POST", "/messages/batch", {"messages": letters})
        self.assertEqual(answered.status, 202, answered)
        paths = set()
        for one in await self.arrived(client.http, 2):
            message = message_from_bytes(await self.raw(client.http, one.id))
            paths.add(urlsplit(message["List-Unsubscribe"].strip("<>")).path)
        for path in paths:
            self.assertEqual((await self.click(client, path)).status, 200)
        events = await self.events(client)
        self.assertEqual(
            sorted(event["recipient"] for event in events), ["u0@example.net", "u1@example.net"]
        )
        sent = [one for one in answered.json["results"] if one.get("id")]
        self.assertEqual({e["message_id"] for e in events}, {one["id"] for one in sent})

    async def test_token_is_not_logged(self) -> None:
        """Whoever reads the log unsubscribes nobody."""
        client = await self.client(http=PUBLIC)
        path = await self.link(client)
        lines: list[str] = []

        @implementer(ILogObserver)
        def keep(event: LogEvent) -> None:
            lines.append(eventAsText(event))

        globalLogPublisher.addObserver(keep)
        self.addCleanup(globalLogPublisher.removeObserver, keep)
        for method, other in (
            *(("GET", path), ("POST", path), ("PUT", path), ("GET", f"{path}/")),
            *(("POST", f"{path}/x"), ("GET", f"{path}%ff"), ("GET", f"{path}?x")),
        ):
            await client.http.ask(method, other, b"" if method == "POST" else None)
        told = [line for line in lines if "/unsubscribe/" in line]
        self.assertEqual(len(told), 7)
        self.assertEqual([line for line in lines if path.rpartition("/")[2] in line], [])
