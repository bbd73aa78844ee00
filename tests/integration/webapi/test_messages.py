"""webapi.md section 2, the Message methods."""

from __future__ import annotations

import http.client
import json
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from mailrelay.testing.loopback import USER
from tests.integration.webapi.api import API, APICase
from tests.integration.world import OTHER_PASSWORD

GETS = ("MessageGet", "MessageRawGet", "MessagePartGet")
CHANGES = ("MessageDelete", "MessageFlagsAdd", "MessageFlagsRemove", "MessageMove")

FIELDS: dict[str, dict[str, object]] = {
    "MessageFlagsAdd": {"Flags": ["x"]},
    "MessageFlagsRemove": {"Flags": ["\\Seen"]},
    "MessageMove": {"DestMailboxName": "Trash"},
    "MessagePartGet": {"PartPath": [0]},
}

NESTED = b"""\
From: Jane <jane@client.test>
To: user@example.org, "Two, Names" <two@x.example>
Cc: c@x.example
Reply-To: r@x.example
Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= =?utf-8?q?_alle?=
Message-ID: <m@x>
References: <a@x> <b@x>
References: <c@x>
In-Reply-To: <z@x>
Date: Sat, 21 Nov 2026 10:08:18 +0100
MIME-Version: 1.0
Content-Type: multipart/mixed; Boundary="o"

--o
Content-Type: multipart/related; boundary=r

--r
Content-Type: multipart/alternative; boundary=a

--a
Content-Type: TEXT/Plain; Charset="ISO-8859-1"
Content-Transfer-Encoding: quoted-printable

Gr=FC=DFe
--a
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: base64

PGI+eDwvYj4=
--a--
--r
Content-Type: image/png; name="=?utf-8?q?b=C3=A4r.png?="
Content-ID: <i@x>
Content-Disposition: INLINE

x
--r--
--o
Content-Type: text/plain
Content-Disposition: attachment; filename*=utf-8''r%C3%BCbe.txt

not the text
--o--
""".replace(b"\n", b"\r\n")


class MessageCase(APICase):
    """A server that got a message."""

    async def received(
        self, content: bytes = NESTED, sender: str = "jane@client.test", recipient: str = USER
    ) -> tuple[API, int]:
        """A server, and the id of the message that came to it by SMTP."""
        api = await self.start()
        replies = await api.server.say(
            b"EHLO client.test",
            f"MAIL FROM:<{sender}>".encode(),
            f"RCPT TO:<{recipient}>".encode(),
            b"DATA",
            content.rstrip() + b"\r\n.",
        )
        self.assertEqual(replies[-1][:3], b"250")
        [message] = await self.arrived(api)
        return api, message.id

    async def flags(self, api: API, id_: int) -> Sequence[str]:
        """A message's."""
        found: Sequence[str] = (await self.got(api, id_))["Meta"]["Flags"]
        return found

    async def got(self, api: API, id_: int) -> Any:
        """MessageGet's answer."""
        return (await api.call("MessageGet", {"MsgID": id_})).json


class GetTests(MessageCase):
    """MessageGet, MessageRawGet, MessagePartGet."""

    async def test_message(self) -> None:
        """Fields are decoded, the attachment is not the text, every list is there."""
        api, id_ = await self.received()
        told = await self.got(api, id_)
        self.assertEqual(list(told), ["Message", "Structure", "Meta"])
        nobody: list[object] = []
        self.assertEqual(
            told["Message"],
            {
                "From": [{"Name": "Jane", "Address": "jane@client.test"}],
                "To": [
                    {"Name": "", "Address": USER},
                    {"Name": "Two, Names", "Address": "two@x.example"},
                ],
                "CC": [{"Name": "", "Address": "c@x.example"}],
                "BCC": nobody,
                "ReplyTo": [{"Name": "", "Address": "r@x.example"}],
                "MessageID": "<m@x>",
                "References": ["<z@x>", "<a@x>", "<b@x>", "<c@x>"],
                "Date": "2026-11-21T10:08:18+01:00",
                "Subject": "Grüße alle",
                "Text": "Grüße",
                "HTML": "<b>x</b>",
            },
        )
        self.assertEqual(list(told["Message"])[:4], ["From", "To", "CC", "BCC"])

    async def test_structure(self) -> None:
        """Types in lower case, names decoded, sizes of what is decoded."""
        api, id_ = await self.received()
        structure = (await self.got(api, id_))["Structure"]
        related, attachment = structure["Parts"]
        alternative, image = related["Parts"]
        plain, html = alternative["Parts"]
        self.assertEqual(
            (structure["ContentType"], structure["ContentTypeParams"]["boundary"]),
            ("multipart/mixed", "o"),
        )
        self.assertEqual(structure["DecodedSize"], 0)
        self.assertEqual(
            plain,
            {
                "ContentType": "text/plain",
                "ContentTypeParams": {"charset": "ISO-8859-1"},
                "ContentID": "",
                "ContentDisposition": "",
                "Filename": "",
                "DecodedSize": 5,
                "Parts": [],
            },
        )
        self.assertEqual(html["DecodedSize"], 8)
        self.assertEqual(
            (image["ContentDisposition"], image["ContentID"], image["Filename"]),
            ("inline", "<i@x>", "bär.png"),
        )
        self.assertEqual(
            (attachment["ContentDisposition"], attachment["Filename"]), ("attachment", "rübe.txt")
        )

    async def test_meta(self) -> None:
        """How it came, with nothing validated yet."""
        api, id_ = await self.received(recipient="user+tag@example.org")
        told = await self.got(api, id_)
        self.assertEqual(
            told["Meta"],
            {
                "Size": len(await self.raw(api, id_)),
                "DSN": False,
                "Flags": [],
                "MailFrom": "jane@client.test",
                "MailFromValidated": False,
                "RcptTo": "user+tag@example.org",
                "MsgFrom": "jane@client.test",
                "MsgFromValidated": False,
                "DKIMVerifiedDomains": [],
                "RemoteIP": "127.0.0.1",
                "MailboxName": "Inbox",
            },
        )

    async def test_bare_message(self) -> None:
        """Without a header everything is empty, null for the date, and ``/`` for the type."""
        api, id_ = await self.received(b"hello\r\n", sender="")
        told = await self.got(api, id_)
        message = told["Message"]
        self.assertEqual((message["From"], message["Date"], message["Subject"]), ([], None, ""))
        self.assertEqual(message["Text"], "hello\n")
        self.assertEqual(told["Structure"]["ContentType"], "/")
        self.assertEqual((told["Meta"]["MailFrom"], told["Meta"]["MsgFrom"]), ("", ""))

    async def test_long_text(self) -> None:
        """A text is cut at 1 MiB; the part is whole."""
        lines = b"x" * 98 + b"\r\n"
        api, id_ = await self.received(b"Subject: long\r\n\r\n" + lines * 20_000)
        self.assertLessEqual(len((await self.got(api, id_))["Message"]["Text"]), 1024 * 1024)
        self.assertGreater(len((await self.got(api, id_))["Message"]["Text"]), 1000 * 1024)
        part = await api.call("MessagePartGet", {"MsgID": id_, "PartPath": []})
        self.assertEqual(part.body, lines * 20_000)

    async def test_raw(self) -> None:
        """The bytes as they are stored, as plain text without a charset."""
        api, id_ = await self.received()
        answered = await api.call("MessageRawGet", {"MsgID": id_})
        self.assertEqual(answered.headers["content-type"], "text/plain")
        self.assertTrue(answered.body.endswith(b"\r\n" + NESTED))
        self.assertEqual(answered.headers["content-length"], str(len(answered.body)))

    async def test_parts(self) -> None:
        """A part has its transfer encoding undone and its charset left; no path is the body."""
        api, id_ = await self.received()
        table = [
            ([0, 0, 0], "Grüße".encode("latin-1")),
            ([0, 0, 1], b"<b>x</b>"),
            ([1], b"not the text"),
        ]
        for path, content in table:
            answered = await api.call("MessagePartGet", {"MsgID": id_, "PartPath": path})
            self.assertEqual((answered.status, answered.body), (200, content), path)
            self.assertEqual(answered.headers["content-type"], "application/octet-stream")
        whole = await api.call("MessagePartGet", {"MsgID": id_, "PartPath": []})
        self.assertEqual(whole.body, NESTED.partition(b"\r\n\r\n")[2])
        for path in ([2], [-1], [0, 0, 0, 0], [0, 5], [2**62]):
            answered = await api.call("MessagePartGet", {"MsgID": id_, "PartPath": path})
            self.assertEqual(answered.code, "partNotFound", path)

    async def test_local(self) -> None:
        """Mail of a submitter of ours does not tell where that one sits."""
        api = await self.start()
        await api.send()
        [message] = await self.arrived(api)
        meta = (await self.got(api, message.id))["Meta"]
        self.assertEqual((meta["RcptTo"], meta["MsgFrom"], meta["RemoteIP"]), (USER, USER, ""))


class ChangeTests(MessageCase):
    """MessageDelete, MessageFlagsAdd, MessageFlagsRemove, MessageMove."""

    async def test_flags(self) -> None:
        """In any case, told in mox's order, keywords last and in lower case."""
        api, id_ = await self.received()
        every = ["\\Seen", "\\Answered", "\\FLAGGED", "\\Deleted", "\\draft", "$Junk", "$NotJunk"]
        every += ["$Forwarded", "$phishing", "$MDNSent", "Work", "aside", "work"]
        answered = await api.call("MessageFlagsAdd", {"MsgID": id_, "Flags": every})
        self.assertEqual(answered.json, {})
        self.assertEqual(
            await self.flags(api, id_),
            [
                "$forwarded",
                "$junk",
                "$mdnsent",
                "$notjunk",
                "$phishing",
                "\\answered",
                "\\deleted",
                "\\draft",
                "\\flagged",
                "\\seen",
                "aside",
                "work",
            ],
        )
        gone = {"MsgID": id_, "Flags": [*every[1:10], "ASIDE", "never"]}
        self.assertEqual((await api.call("MessageFlagsRemove", gone)).json, {})
        self.assertEqual(await self.flags(api, id_), ["\\seen", "work"])
        for method in ("MessageFlagsAdd", "MessageFlagsRemove"):
            self.assertEqual((await api.call(method, {"MsgID": id_})).json, {})
            for flag in ("a b", "(", "\\Recent", "", "ü", "a\nb", "x" * 101):
                answered = await api.call(method, {"MsgID": id_, "Flags": ["fine", flag]})
                self.assertEqual(answered.code, "user", (method, flag))
        self.assertEqual(await self.flags(api, id_), ["\\seen", "work"])

    async def test_move(self) -> None:
        """The id stays; junk flags follow the mailbox; names match exactly."""
        api, id_ = await self.received()
        await api.call("MessageFlagsAdd", {"MsgID": id_, "Flags": ["$Junk", "\\Seen"]})
        table = [
            ("Archive", ["$notjunk", "\\seen"]),
            ("Junk", ["$junk", "\\seen"]),
            ("Inbox", ["\\seen"]),
            ("Trash", ["$notjunk", "\\seen"]),
            ("Drafts", ["$notjunk", "\\seen"]),
            ("Sent", ["$notjunk", "\\seen"]),
        ]
        for mailbox, flags in table:
            request = {"MsgID": id_, "DestMailboxName": mailbox}
            self.assertEqual((await api.call("MessageMove", request)).json, {}, mailbox)
            meta = (await self.got(api, id_))["Meta"]
            self.assertEqual((meta["MailboxName"], meta["Flags"]), (mailbox, flags))
        for mailbox in ("Sent", "inbox", "INBOX", "Nothing", "", "../Sent", "x" * 300):
            request = {"MsgID": id_, "DestMailboxName": mailbox}
            self.assertEqual((await api.call("MessageMove", request)).code, "user", mailbox)

    async def test_delete(self) -> None:
        """Gone for good; its room in the quota is free."""
        api, id_ = await self.received()
        self.assertEqual((await api.call("MessageDelete", {"MsgID": id_})).json, {})
        for method in (*GETS, *CHANGES):
            answered = await api.call(method, {"MsgID": id_})
            self.assertEqual(answered.code, "messageNotFound", method)
        self.assertEqual(await self.arrived(api, 0), [])


class TenantTests(MessageCase):
    """Threats 8 and 28: another account's id is an unknown one, whatever is done to it."""

    async def test_others_messages(self) -> None:
        """Each method answers as for an id that never was, and nothing changes."""
        api, id_ = await self.received()
        other = api.logged_in("other@example.org", OTHER_PASSWORD)
        before = await self.got(api, id_)
        for method in (*GETS, *CHANGES):
            fields = FIELDS.get(method, {})
            answers = [
                (await other.call(method, {"MsgID": one, **fields})).body
                for one in (id_, id_ + 100_000, -1, 2**53, 2**63 - 1)
            ]
            self.assertEqual(len(set(answers)), 1, method)
            self.assertEqual(json.loads(answers[0])["Code"], "messageNotFound", method)
        self.assertEqual(await self.got(api, id_), before)

    async def test_ids(self) -> None:
        """Zero is the caller's mistake where something is to change; text is no id at all."""
        api = await self.start()
        for method in GETS:
            self.assertEqual((await api.call(method, {"MsgID": 0})).code, "messageNotFound")
        for method in CHANGES:
            answered = await api.call(method, {"MsgID": 0})
            self.assertEqual(answered.code, "user")
            self.assertIn("zero", answered.message)
        for method in (*GETS, *CHANGES):
            for id_ in ("../1", "%2e%2e/1", "/etc/passwd", "1\0", "9" * 300):
                self.assertEqual((await api.call(method, {"MsgID": id_})).code, "protocol")


class SecretTests(APICase):
    """Threats 11 and 21: what is said in the log."""

    async def test_log(self) -> None:
        """Neither passwords nor texts nor query strings are logged, whatever goes wrong."""
        lines: list[str] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            lines.append(repr({k: v for k, v in event.items() if k != "log_source"}))

        api = await self.start()
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        wrong = api.logged_in(USER, "planted-wrong-password")
        await wrong.call("Send")
        await api.call("Send", {"Text": "planted-text", "Nothing": "planted-field"})
        await api.send(Text="planted-text", Extra={"k": "planted-extra"})
        await api.ask("GET", "/webapi/v0/Send?token=planted-query")
        encoded = b64encode(f"{USER}:correct horse".encode()).decode()
        self.assertTrue(any("/webapi/v0/Send" in line for line in lines))
        for secret in ("planted", "correct horse", encoded):
            self.assertEqual([line for line in lines if secret in line], [], secret)


class KeptConnectionTests(APICase):
    """Many calls on one connection."""

    async def test_calls(self) -> None:
        """The connection stays, through errors too."""
        api = await self.start()
        port = api.server.port("http")

        def speak() -> list[int]:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            statuses = []
            for body in (b"request={}", b"request=[", b"", b"request={}"):
                headers = {**api.login, "Content-Type": "application/x-www-form-urlencoded"}
                connection.request("POST", "/webapi/v0/SuppressionList", body, headers)
                response = connection.getresponse()
                response.read()
                statuses.append(response.status)
            connection.close()
            return statuses

        self.assertEqual(await deferToThread(speak), [200, 400, 400, 200])
