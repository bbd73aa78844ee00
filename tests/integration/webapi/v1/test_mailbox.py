"""Received messages, asked by an application over HTTP."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Any
from urllib.parse import quote

from twisted.internet import reactor as the_reactor
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from mailrelay.testing.loopback import USER
from mailrelay.web.settings import HTTPSettings
from tests.integration.webapi.api import Answered
from tests.integration.webapi.test_messages import NESTED
from tests.integration.webapi.v1.client import Client, ClientCase
from tests.integration.world import OTHER_PASSWORD, soon

OTHER = "other@example.org"
PDF = bytes(range(256)) * 40


class MailboxCase(ClientCase):
    """A server that gets messages by SMTP."""

    async def receive(
        self, client: Client, content: bytes, sender: str = "jane@client.test", to: str = USER
    ) -> None:
        """Give it a message."""
        replies = await client.http.server.say(
            b"EHLO client.test",
            f"MAIL FROM:<{sender}>".encode(),
            f"RCPT TO:<{to}>".encode(),
            b"DATA",
            content.rstrip() + b"\r\n.",
        )
        self.assertEqual(replies[-1][:3], b"250")

    async def listed(self, client: Client, count: int, query: str = "") -> list[dict[str, Any]]:
        """The messages, newest first, once there are as many."""
        while True:
            found: list[dict[str, Any]] = (await self.ok(client, f"/mailbox/messages{query}"))[
                "messages"
            ]
            if len(found) >= count:
                return found
            await soon(the_reactor)

    async def received(self, content: bytes = NESTED, **settings: Any) -> tuple[Client, str]:
        """A server with one message, and the path of that."""
        client = await self.client(**settings)
        await self.receive(client, content)
        [message] = await self.listed(client, 1)
        return client, f"/mailbox/messages/{message['id']}"

    async def ok(self, client: Client, path: str, method: str = "GET", body: object = None) -> Any:
        """The answer of a request that must succeed."""
        answered = await client.ask(method, path, body)
        self.assertEqual(answered.status, 200, answered)
        return answered.json

    async def fetched(self, client: Client, url: str) -> Answered:
        """What a link leads to, without a login."""
        return await client.http.ask("GET", url)


class GetTests(MailboxCase):
    """One message."""

    async def test_message(self) -> None:
        """Everything that it says, decoded."""
        client, path = await self.received()
        told = await self.ok(client, path)
        nobody: list[object] = []
        self.assertEqual(told["from"], [{"address": "jane@client.test", "name": "Jane"}])
        self.assertEqual([one["address"] for one in told["to"]], [USER, "two@x.example"])
        self.assertEqual(
            (told["cc"][0]["address"], told["reply_to"][0]["address"]),
            ("c@x.example", "r@x.example"),
        )
        self.assertEqual(told["envelope"], {"sender": "jane@client.test", "recipient": USER})
        self.assertEqual(
            (told["subject"], told["text"], told["html"]), ("Grüße alle", "Grüße", "<b>x</b>")
        )
        self.assertEqual(told["date"], "2026-11-21T10:08:18+01:00")
        self.assertEqual(
            (told["message_id"], told["in_reply_to"], told["references"]),
            ("<m@x>", "<z@x>", ["<a@x>", "<b@x>", "<c@x>"]),
        )
        self.assertEqual((told["mailbox"], told["flags"]), ("Inbox", nobody))
        self.assertEqual(
            (told["is_automated"], told["is_truncated"], told["remote_ip"]),
            (False, False, "127.0.0.1"),
        )

    async def test_headers(self) -> None:
        """All of them in order, those of the same name too."""
        client, path = await self.received()
        headers = (await self.ok(client, path))["headers"]
        names = [one["name"] for one in headers]
        self.assertEqual(names[:3], ["return-path", "delivered-to", "received"])
        self.assertEqual(
            names[-5:], ["references", "in-reply-to", "date", "mime-version", "content-type"]
        )
        self.assertEqual(names.count("references"), 2)
        self.assertIn({"name": "subject", "value": "Grüße alle"}, headers)

    async def test_structure(self) -> None:
        """Every part with its path; what is neither text nor HTML is attached."""
        client, path = await self.received()
        told = await self.ok(client, path)
        self.assertEqual(
            [(one["path"], one["content_type"]) for one in told["structure"]],
            [
                ("", "multipart/mixed"),
                ("0", "multipart/related"),
                ("0.0", "multipart/alternative"),
                ("0.0.0", "text/plain"),
                ("0.0.1", "text/html"),
                ("0.1", "image/png"),
                ("1", "text/plain"),
            ],
        )
        self.assertEqual(
            [
                (one["path"], one["filename"], one["content_id"], one["size_bytes"])
                for one in told["attachments"]
            ],
            [("0.1", "bär.png", "i@x", 1), ("1", "rübe.txt", "", 12)],
        )

    async def test_truncated(self) -> None:
        """A long text is cut, and that is told."""
        long = b"Subject: long\r\n\r\n" + (b"x" * 98 + b"\r\n") * 12_000
        client, path = await self.received(long)
        told = await self.ok(client, path)
        self.assertTrue(told["is_truncated"])
        self.assertEqual(len(told["text"]), 1024 * 1024)

    async def test_hostile(self) -> None:
        """Without a header, nested without end, with half a header: it is answered."""
        client = await self.client()
        nested = b"".join(
            b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (n, n)
            for n in range(300)
        )
        for content in (b"hello", nested, b"Subject: " + b"x " * 400 + b"\r\nContent-Type: a/b"):
            await self.receive(client, content)
        found = await self.listed(client, 3)
        for one in found:
            told = await self.ok(client, f"/mailbox/messages/{one['id']}")
            self.assertLessEqual(len(told["structure"]), 101)


class DownloadTests(MailboxCase):
    """Bytes and parts, with a login and by links."""

    def mail(self, filename: str = "a b.pdf") -> bytes:
        """A message with an attachment."""
        mail = EmailMessage()
        mail["Subject"], mail["From"] = "a file", "jane@client.test"
        mail.set_content("see it\n")
        mail.add_attachment(PDF, "application", "pdf", filename=filename)
        return mail.as_bytes().replace(b"\n", b"\r\n")

    async def test_raw(self) -> None:
        """The bytes as they are stored, the same by a link."""
        client, path = await self.received(self.mail())
        raw = await client.ask("GET", f"{path}/raw")
        told = await self.ok(client, path)
        self.assertTrue(raw.body.startswith(b"Return-Path: <jane@client.test>\r\n"))
        self.assertEqual(raw.headers["content-type"], "message/rfc822")
        self.assertEqual(len(raw.body), told["size_bytes"])
        self.assertEqual((await self.fetched(client, told["raw_url"])).body, raw.body)

    async def test_part(self) -> None:
        """Decoded, as a file that no browser shows; the same by a link."""
        client, path = await self.received(self.mail())
        [attachment] = (await self.ok(client, path))["attachments"]
        self.assertEqual(attachment["content_type"], "application/pdf")
        for answered in (
            await client.ask("GET", f"{path}/part?path={attachment['path']}"),
            await self.fetched(client, attachment["url"]),
        ):
            self.assertEqual((answered.status, answered.body), (200, PDF))
            self.assertEqual(answered.headers["content-type"], "application/octet-stream")
            self.assertEqual(
                answered.headers["content-disposition"], 'attachment; filename="a b.pdf"'
            )
            self.assertEqual(answered.headers["cache-control"], "no-store")
            self.assertEqual(answered.headers["x-content-type-options"], "nosniff")
            self.assertIn("default-src 'none'", answered.headers["content-security-policy"])
        for missing in ("7", "1.0", "0.0"):
            answered = await client.ask("GET", f"{path}/part?path={missing}")
            self.assert_problem(answered, 404, "not_found")
        for wrong in ("x", "-1", "1.", "1" * 9):
            answered = await client.ask("GET", f"{path}/part?path={wrong}")
            self.assert_problem(answered, 400, "invalid_field", "path")

    async def test_html_is_no_page(self) -> None:
        """HTML and its name are a stranger's: neither reaches a browser's pages."""
        page = (
            b'Content-Type: text/html; name="../x\\"\\r\\n.html"\r\n\r\n<script>alert(1)</script>'
        )
        client, path = await self.received(page)
        answered = await client.ask("GET", f"{path}/part")
        self.assertEqual(answered.headers["content-type"], "application/octet-stream")
        self.assertTrue(answered.headers["content-disposition"].startswith("attachment; "))

    async def test_large(self) -> None:
        """What is in the spool is streamed whole, in whatever encoding."""
        lines = b"".join(b"=3D%07d=\r\n" % n for n in range(80_000))
        plain = b"".join(b"=%07d" % n for n in range(80_000))
        head = b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
        client, path = await self.received(head + lines)
        self.assertEqual((await client.ask("GET", f"{path}/part")).body, plain)
        raw = await client.ask("GET", f"{path}/raw")
        self.assertTrue(raw.body.endswith(lines))

    async def test_public_url(self) -> None:
        """Links begin with it where it is set, and are paths elsewhere."""
        client, path = await self.received(http=HTTPSettings(public_url="https://m.example.org"))
        told = await self.ok(client, path)
        for url in (told["raw_url"], *(one["url"] for one in told["attachments"])):
            self.assertTrue(url.startswith("https://m.example.org/api/v1/files/"), url)

    async def test_bad_links(self) -> None:
        """Changed, made up, or over: not found, in the same words."""
        client, path = await self.received(http=HTTPSettings(file_links_hold=0.001))
        url = (await self.ok(client, path))["raw_url"]
        for wrong in (url, url[:-2], url + "A", "/api/v1/files/x", "/api/v1/files/1.eA.AAAA"):
            self.assert_problem(await self.fetched(client, wrong), 404, "not_found")
        posted = await client.http.ask("POST", url, b"")
        self.assert_problem(posted, 405, "method_not_allowed")
        self.assertEqual(posted.headers["allow"], "GET, HEAD")

    async def test_link_to_what_was_deleted(self) -> None:
        """It leads nowhere any more."""
        client, path = await self.received()
        url = (await self.ok(client, path))["raw_url"]
        self.assertEqual((await self.fetched(client, url)).status, 200)
        self.assertEqual((await client.ask("DELETE", path)).status, 204)
        self.assert_problem(await self.fetched(client, url), 404, "not_found")

    async def test_token_is_not_logged(self) -> None:
        """The log has the route in its place."""
        lines: list[str] = []

        @implementer(ILogObserver)
        def keep(event: LogEvent) -> None:
            lines.append(str(event))

        client, path = await self.received()
        url = (await self.ok(client, path))["raw_url"]
        globalLogPublisher.addObserver(keep)
        self.addCleanup(globalLogPublisher.removeObserver, keep)
        for method, path in (("GET", url), ("POST", url), ("GET", f"{url}/"), ("PUT", f"{url}/x")):
            await client.http.ask(method, path)
        told = [line for line in lines if "/api/v1/files/" in line]
        self.assertTrue(told)
        token = url.rpartition("/")[2]
        self.assertEqual([line for line in lines if token in line], [])


class ListTests(MailboxCase):
    """``/mailbox/messages``."""

    async def started(self) -> Client:
        """A server with three messages, one after the other."""
        client = await self.client()
        for number, (sender, to) in enumerate(
            (("ann@a.test", USER), ("bob@b.test", "support@x.example"), ("", USER)), 1
        ):
            content = b"Subject: Number %d_\r\n\r\nx" % number
            await self.receive(client, content, sender, to)
            await self.listed(client, number)
        return client

    def numbers(self, found: Any) -> list[str]:
        """The messages by their subjects."""
        return [one["subject"].removeprefix("Number ").rstrip("_") for one in found["messages"]]

    async def test_pages(self) -> None:
        """Newest first, page by page."""
        client = await self.started()
        page = await self.ok(client, "/mailbox/messages?limit=2")
        self.assertEqual(self.numbers(page), ["3", "2"])
        rest = await self.ok(client, f"/mailbox/messages?limit=2&cursor={page['next_cursor']}")
        self.assertEqual((self.numbers(rest), rest["next_cursor"]), (["1"], None))

    async def test_filters(self) -> None:
        """Each narrows the list."""
        client = await self.started()
        newest = (await self.ok(client, "/mailbox/messages?limit=1"))["messages"][0]
        body = {"add": ["\\Seen"], "remove": []}
        await self.ok(client, f"/mailbox/messages/{newest['id']}/flags", "POST", body)
        moment = timedelta(milliseconds=0.1)  # a time that is told is rounded
        before = quote((datetime.fromisoformat(newest["received_at"]) - moment).isoformat())
        for query, wanted in (
            ("sender=A.TEST", ["1"]),
            ("sender=a%25test", []),
            ("recipient=support@", ["2"]),
            ("subject=number%202", ["2"]),
            ("subject=_", ["3", "2", "1"]),
            ("mailbox=Inbox", ["3", "2", "1"]),
            ("mailbox=inbox", []),
            ("mailbox=Junk", []),
            ("flag=%5cSEEN", ["3"]),
            ("flag=see", []),
            ("without_flag=%5cseen", ["2", "1"]),
            (f"since={before}", ["3"]),
            (f"until={before}", ["2", "1"]),
            ("since=2000-01-01T00:00:00Z&sender=b.test", ["2"]),
            ("larger_than=0&smaller_than=1000000", ["3", "2", "1"]),
            ("larger_than=1000000", []),
            ("text=nothing%20of%20it", []),
            ("has_attachment=true", []),
            ("has_attachment=false&sender=b.test", ["2"]),
        ):
            found = await self.ok(client, f"/mailbox/messages?{query}")
            self.assertEqual(self.numbers(found), wanted, query)

    async def test_unread(self) -> None:
        """How many are not seen, in all or in one mailbox."""
        client = await self.started()
        newest = (await self.ok(client, "/mailbox/messages?limit=1"))["messages"][0]
        body = {"add": ["\\Seen"]}
        await self.ok(client, f"/mailbox/messages/{newest['id']}/flags", "POST", body)
        for query, count in (("", 2), ("?mailbox=Inbox", 2), ("?mailbox=Junk", 0)):
            self.assertEqual(await self.ok(client, f"/mailbox/unread{query}"), {"unread": count})

    async def test_bad_queries(self) -> None:
        """What cannot be meant is refused by the name of its field."""
        client = await self.client()
        for query, field in (
            ("limit=0", "limit"),
            ("mailbox=", "mailbox"),
            ("subject=a%0d%0ab", "subject"),
            ("flag=a%20b", "flag"),
            ("without_flag=%5cunknown", "without_flag"),
            ("since=2026-01-01", "since"),
        ):
            answered = await client.ask("GET", f"/mailbox/messages?{query}")
            self.assert_problem(answered, 400, "invalid_field", field)


class ChangeTests(MailboxCase):
    """Flags, moving, deleting."""

    async def test_flags(self) -> None:
        """Set and cleared in any case; what is none changes nothing."""
        client, path = await self.received()
        body = {"add": ["Work", "\\FLAGGED"]}
        told = await self.ok(client, f"{path}/flags", "POST", body)
        self.assertEqual(told["flags"], ["\\flagged", "work"])
        told = await self.ok(client, f"{path}/flags", "POST", {"remove": ["WORK"]})
        self.assertEqual(told["flags"], ["\\flagged"])
        wrong = await client.ask("POST", f"{path}/flags", {"add": ["x", "a b"]})
        self.assert_problem(wrong, 400, "invalid_field", "add[1]")
        many = await client.ask("POST", f"{path}/flags", {"add": [f"f{n}" for n in range(100)]})
        self.assert_problem(many, 400, "invalid_field", "add")
        self.assertEqual((await self.ok(client, path))["flags"], ["\\flagged"])

    async def test_move(self) -> None:
        """To a mailbox that there is; the id stays."""
        client, path = await self.received()
        names = (await self.ok(client, "/mailboxes"))["mailboxes"]
        self.assertEqual(names, ["Archive", "Drafts", "Inbox", "Junk", "Sent", "Trash"])
        told = await self.ok(client, f"{path}/move", "POST", {"mailbox": "Junk"})
        self.assertEqual((told["mailbox"], told["flags"]), ("Junk", ["$junk"]))
        again = await client.ask("POST", f"{path}/move", {"mailbox": "Junk"})
        self.assert_problem(again, 409, "in_mailbox")
        for wrong in ("junk", "a\r\nb", ""):
            answered = await client.ask("POST", f"{path}/move", {"mailbox": wrong})
            self.assert_problem(answered, 400, "invalid_field", "mailbox")

    async def test_delete(self) -> None:
        """Then it is not there, whatever is asked."""
        client, path = await self.received()
        self.assertEqual((await client.ask("DELETE", path)).status, 204)
        await self.assert_nothing(client, path)

    async def test_another_account(self) -> None:
        """Another's messages are not there, and not in its list."""
        client, path = await self.received()
        other = client.logged_in(OTHER, OTHER_PASSWORD)
        await self.assert_nothing(other, path)
        self.assertEqual((await self.ok(other, "/mailbox/messages"))["messages"], [])
        self.assertEqual((await self.ok(client, path))["mailbox"], "Inbox")

    async def test_scopes(self) -> None:
        """A key that reads changes nothing; one that sends sees nothing."""
        client, path = await self.received()
        keys = {}
        for scope in ("read", "send", "manage"):
            made = await client.ask("POST", "/keys", {"name": scope, "scopes": [scope]})
            keys[scope] = client.with_key(json.loads(made.body)["key"])
        for scope, method, request, body, status in (
            ("read", "GET", path, None, 200),
            ("read", "GET", f"{path}/raw", None, 200),
            ("read", "POST", f"{path}/flags", {}, 403),
            ("read", "POST", f"{path}/move", {"mailbox": "Junk"}, 403),
            ("read", "DELETE", path, None, 403),
            ("send", "GET", path, None, 403),
            ("send", "GET", "/mailbox/messages", None, 403),
            ("send", "GET", f"{path}/part", None, 403),
            ("manage", "GET", path, None, 403),
            ("manage", "POST", f"{path}/flags", {}, 200),
        ):
            answered = await keys[scope].ask(method, request, body)
            self.assertEqual(answered.status, status, (scope, method, request))

    async def assert_nothing(self, client: Client, path: str) -> None:
        """There is nothing at ``path``."""
        for method, what, body in (
            ("GET", "", None),
            ("GET", "/raw", None),
            ("GET", "/part", None),
            ("POST", "/flags", {"add": ["x"]}),
            ("POST", "/move", {"mailbox": "Junk"}),
            ("DELETE", "", None),
        ):
            answered = await client.ask(method, f"{path}{what}", body)
            self.assert_problem(answered, 404, "not_found")
