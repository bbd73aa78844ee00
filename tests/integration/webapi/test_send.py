"""webapi.md section 2, Send: which mistake is told, what is written, what is queued."""

from __future__ import annotations

import json
import re
import time
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from attrs import evolve

import mailrelay
from mailrelay.control.directory import AccountDetails
from mailrelay.control.mailbox import MessageFilter
from mailrelay.policy.limits import Limits
from mailrelay.testing.loopback import PASSWORD, USER
from tests.integration.webapi.api import API, LETTER, APICase, Part
from tests.integration.world import OTHER_PASSWORD

ID = re.compile(r"[A-Za-z0-9_-]{22}")
TO = [{"Address": "joe@example.net"}]
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


def people(*addresses: str) -> list[dict[str, str]]:
    """Addresses without names."""
    return [{"Address": one} for one in addresses]


def parsed(content: bytes) -> EmailMessage:
    """As Python's own parser has it."""
    return message_from_bytes(content, policy=policy.default)


class CheckTests(APICase):
    """Steps 1 to 8: what is refused, with which code, and which of two mistakes is told."""

    async def test_codes(self) -> None:
        """Each mistake alone has its code."""
        api = await self.start(limits=evolve(Limits(), message_bytes=50_000))
        far = (datetime.now(UTC) + timedelta(days=61)).isoformat()
        table: list[tuple[dict[str, Any], str]] = [
            ({"Text": ""}, "missingBody"),
            ({"From": people(USER, USER)}, "multipleFrom"),
            ({"From": people("x@")}, "badAddress"),
            ({"To": people("joe@")}, "badAddress"),
            ({"To": people("joe")}, "badAddress"),
            ({"CC": people("")}, "badAddress"),
            ({"BCC": people("a b@example.net")}, "badAddress"),
            ({"To": [{"Name": "a\tb", "Address": "a@b.example"}]}, "user"),
            ({"From": people("other@example.org")}, "badFrom"),
            ({"From": people("user@elsewhere.example")}, "badFrom"),
            ({"From": people("user@off.example")}, "domainDisabled"),
            ({"To": []}, "noRecipients"),
            ({"ReplyTo": people("x")}, "badAddress"),
            ({"Text": "x" * 60_000}, "messageTooLarge"),
            ({"MessageID": "x@y"}, "malformedMessageID"),
            ({"MessageID": "<x"}, "malformedMessageID"),
            ({"Date": "yesterday"}, "protocol"),
            ({"Date": "2026-11-21 09:00:00"}, "protocol"),
            ({"FutureRelease": far}, "user"),
            ({"Headers": [["a"]]}, "protocol"),
            ({"Headers": [["a", "b", "c"]]}, "protocol"),
            ({"Headers": [["", "b"]]}, "user"),
            ({"Headers": [["a b", "c"]]}, "user"),
            ({"Headers": [["From", "evil@example.org"]]}, "user"),
            ({"Headers": [["Bcc", "evil@example.org"]]}, "user"),
            ({"AttachedFiles": [{"Data": "!"}]}, "user"),
            ({"AttachedFiles": [{"Data": "YQ"}]}, "user"),
            ({"AttachedFiles": [{"Data": "YQ==", "ContentType": "nothing"}]}, "user"),
            ({"To": people(*["a@b.example"] * 1001)}, "user"),
        ]
        for fields, code in table:
            answered = await api.call("Send", {**LETTER, **fields})
            self.assertEqual(answered.code, code, str(fields)[:200])
        self.assertEqual(await self.queued(api), [])

    async def test_order(self) -> None:
        """Of several mistakes the one of the earlier step is told."""
        api = await self.start()
        mistakes: list[tuple[dict[str, Any], str]] = [
            ({"Text": ""}, "missingBody"),
            ({"From": people(USER, USER)}, "multipleFrom"),
            ({"CC": people("bad")}, "badAddress"),
            ({"From": people("other@example.org")}, "badFrom"),
            ({"To": []}, "noRecipients"),
            ({"ReplyTo": people("bad")}, "badAddress"),
            ({"MessageID": "bad"}, "malformedMessageID"),
        ]
        for at, (fields, code) in enumerate(mistakes):
            given = {**LETTER}
            for later, _ in reversed(mistakes[at:]):
                given.update(later)
            given.update(fields)
            if code == "noRecipients":
                given["CC"] = []
            self.assertEqual((await api.call("Send", given)).code, code)

    async def test_from(self) -> None:
        """Own addresses, their suffixes, and those of an own catch-all may be From."""
        api = await self.start()
        for address in (
            USER,
            "USER@EXAMPLE.ORG",
            "user+tag@example.org",
            "user-tag@dash.example",
            "anything@catch.example",
            "user@bücher.example",
            "user@xn--bcher-kva.example",
        ):
            await api.send(From=people(address))
        other = await api.call("Send", {**LETTER, "From": people("other@catch.example")})
        self.assertEqual(other.code, "badFrom")

    async def test_whom_it_is_from(self) -> None:
        """Without From it is the login, with the account's full name."""
        api = await self.start()
        control = self.control(api)
        await control.directory.set_account("user", AccountDetails(full_name="Ürs User"))
        await self.until(
            lambda: any(a.full_name for a in api.server.server.directory.accounts.values())
        )
        content = await self.sent_bytes(api.logged_in("user+app@example.org", PASSWORD))
        self.assertEqual(str(parsed(content)["from"]), "Ürs User <user+app@example.org>")

    async def queued(self, api: API) -> list[Any]:
        """What is in mailboxes."""
        return list(await self.control(api).messages.find(MessageFilter()))


class ControlCharacterTests(APICase):
    """Threat 4: every string field with every character that ends a line for somebody."""

    async def test_fields(self) -> None:
        """It is refused by the field's name, or the message has just the fields it should."""
        api = await self.start()
        file = {"Name": "a.txt", "ContentType": "text/plain", "ContentID": "<a@b>", "Data": "YQ=="}
        fields: list[tuple[str, Any]] = [
            *(
                (f"{name}[0].{part}", lambda x, n=name, p=part: {n: [person(p, x)]})
                for name in ("From", "To", "CC", "BCC", "ReplyTo")
                for part in ("Name", "Address")
            ),
            ("MessageID", lambda x: {"MessageID": f"<a{x}b@c>"}),
            ("References[0]", lambda x: {"References": [f"<a{x}b@c>"]}),
            ("Subject", lambda x: {"Subject": f"a{x}b"}),
            ("Headers[0]", lambda x: {"Headers": [[f"X-A{x}B", "c"]]}),
            ("Headers[0]", lambda x: {"Headers": [["X-A", f"b{x}Evil: c"]]}),
            ("Date", lambda x: {"Date": f"2026-11-21T09:00:00{x}Z"}),
            ("FutureRelease", lambda x: {"FutureRelease": f"2026-11-21T09:00:00{x}Z"}),
            *(
                (f"{files}[0].{part}", lambda x, f=files, p=part: {f: [broken(file, p, x)]})
                for files in ("AlternativeFiles", "InlineFiles", "AttachedFiles")
                for part in ("Name", "ContentType", "ContentID")
            ),
        ]
        wrong = ["\r", "\n", "\r\n", "\0", "\u2028", "\u0085", "\x1b", "\x7f", "\r\nBcc: e@v.il"]
        for name, make in fields:
            for text in wrong:
                answered = await api.call("Send", {**LETTER, "From": people(USER), **make(text)})
                self.assertIn(answered.code, ("user", "badAddress", "protocol"), (name, text))
                self.assertIn(name, answered.message, (name, text))
            lone = json.dumps({**LETTER, **make("@@")}).replace("@@", "\\ud800")
            self.assertEqual((await api.call("Send", lone)).code, "protocol", name)

    async def test_percent(self) -> None:
        """Percent signs are text."""
        api = await self.start()
        content = await self.sent_bytes(api, Subject="a%0d%0aBcc: x", Headers=[["X-A", "%0d%0a"]])
        message = parsed(content)
        self.assertEqual((message["subject"], message["x-a"]), ("a%0d%0aBcc: x", "%0d%0a"))
        self.assertIsNone(message["bcc"])

    async def test_texts(self) -> None:
        """In texts they are text: nothing of them is a line end of SMTP's, or a header."""
        api = await self.start()
        text = "a\rb\n.\nc\r\n.\r\n\0\x1b\u2028\u0085d\n\nFrom x"
        content = await self.sent_bytes(api, Text=text, HTML=f"<p>{text}</p>")
        self.assertNotIn(b"\0", content)
        self.assertEqual(content.replace(b"\r\n", b"").count(b"\r"), 0)
        self.assertEqual(content.replace(b"\r\n", b"").count(b"\n"), 0)
        plain = parsed(content).get_body(("plain",))
        assert plain is not None
        told = plain.get_payload(decode=True)
        self.assertEqual(told, text.replace("\r\n", "\n").replace("\n", "\r\n").encode() + b"\r\n")

    async def test_other_methods(self) -> None:
        """The fields of the other methods are no better."""
        api = await self.start()
        table = [
            ("SuppressionAdd", {"EmailAddress": "a@b.example", "Reason": "@@"}, "Reason"),
            ("SuppressionAdd", {"EmailAddress": "a@@@b.example"}, "EmailAddress"),
            ("SuppressionRemove", {"EmailAddress": "a@b.example@@"}, "EmailAddress"),
            ("SuppressionPresent", {"EmailAddress": "@@a@b.example"}, "EmailAddress"),
            ("MessageMove", {"MsgID": 1, "DestMailboxName": "Sent@@"}, "DestMailboxName"),
            ("MessageFlagsAdd", {"MsgID": 1, "Flags": ["a@@b"]}, "Flags"),
            ("MessageFlagsRemove", {"MsgID": 1, "Flags": ["a@@b"]}, "Flags"),
        ]
        for method, request, name in table:
            for text in ("\r", "\n", "\0", "\u2028", "\u0085"):
                told = json.dumps(request).replace("@@", json.dumps(text)[1:-1])
                answered = await api.call(method, told)
                self.assertEqual(answered.status, 400, (method, text))
                self.assertIn(name, answered.message, (method, text))


def person(part: str, text: str) -> dict[str, str]:
    """Somebody of ours with ``text`` in the name or the address."""
    given = {"Name": "A B", "Address": USER}
    return {**given, part: f"a{text}{given[part]}"}


def broken(file: dict[str, str], part: str, text: str) -> dict[str, str]:
    """``file`` with ``text`` in one of its fields."""
    return {**file, part: f"{file[part][:-1]}{text}{file[part][-1:]}"}


class ComposedTests(APICase):
    """What is written."""

    async def test_header_order(self) -> None:
        """Fields stand in mox's order, the caller's own after MIME-Version."""
        api = await self.start()
        content = await self.sent_bytes(
            api,
            From=[{"Name": "Jörg", "Address": USER}],
            ReplyTo=people("r@example.net"),
            To=[{"Name": 'A "quoted", name', "Address": "user@example.org"}],
            CC=people("c1@x.example", "c2@x.example"),
            Subject="zwei ü ö Wörter",
            Date="2026-11-21T10:08:18+01:00",
            MessageID="<own@id>",
            References=["<a@b>", "<c@d>"],
            Headers=[["X-Own", "value"], ["x-own", "again"], ["List-Id", "<l.example>"]],
        )
        names = [
            line.partition(b":")[0].decode()
            for line in content.partition(b"\r\n\r\n")[0].split(b"\r\n")
            if line[:1] not in b" \t"
        ]
        self.assertEqual(
            names,
            [
                "From",
                "Reply-To",
                "To",
                "Cc",
                "Subject",
                "Date",
                "Message-Id",
                "References",
                "In-Reply-To",
                "MIME-Version",
                "X-Own",
                "x-own",
                "List-Id",
                "User-Agent",
                "Content-Type",
                "Content-Transfer-Encoding",
            ],
        )
        message = parsed(content)
        self.assertEqual(message["subject"], "zwei ü ö Wörter")
        self.assertEqual(message["from"], f"Jörg <{USER}>")
        self.assertEqual(message["to"].addresses[0].display_name, 'A "quoted", name')
        self.assertEqual(message["date"].datetime.timestamp(), 1795252098.0)
        self.assertEqual(message["in-reply-to"], "<c@d>")
        self.assertEqual(message["references"].split(), ["<a@b>", "<c@d>"])
        self.assertEqual(message["user-agent"], f"mailrelay/{mailrelay.__version__}")

    async def test_user_agent(self) -> None:
        """An own X-Mailer or User-Agent, in any case, stands alone."""
        api = await self.start()
        content = await self.sent_bytes(api, Headers=[["x-MAILER", "mine"]])
        self.assertNotIn(b"User-Agent", content)

    async def test_defaults(self) -> None:
        """Date is now, Message-Id is 22 characters at our name, and so answered."""
        api = await self.start()
        result = await api.send()
        local, _, domain = result["MessageID"][1:-1].partition("@")
        self.assertRegex(local, f"^{ID.pattern}$")
        self.assertEqual(domain, "mx.example.org")
        [message] = await self.arrived(api)
        found = parsed(await self.raw(api, message.id))
        self.assertEqual(found["message-id"], result["MessageID"])
        self.assertLess(abs(found["date"].datetime.timestamp() - time.time()), 300)

    async def test_bodies(self) -> None:
        """Encoding and charset follow the text; the last line is ended."""
        api = await self.start()
        table = [
            ("plain", "us-ascii", "7bit", b"plain\r\n"),
            ("hi ☺\n", "utf-8", "8bit", "hi ☺\r\n".encode()),
            ("a" * 77, "us-ascii", "quoted-printable", b"a" * 77 + b"\r\n"),
        ]
        for number, (text, charset, encoding, decoded) in enumerate(table, 1):
            await api.send(Text=text)
            message = (await self.arrived(api, number))[-1]
            found = parsed(await self.raw(api, message.id))
            self.assertEqual(found.get_content_charset(), charset)
            self.assertEqual(found["content-transfer-encoding"], encoding)
            self.assertEqual(found.get_payload(decode=True), decoded)
            self.assertEqual(found.get_content_type(), "text/plain")

    async def test_html_alone(self) -> None:
        """No text is made of HTML."""
        api = await self.start()
        message = parsed(await self.sent_bytes(api, Text="", HTML="<b>x</b>"))
        self.assertEqual(message.get_content_type(), "text/html")

    async def test_parts(self) -> None:
        """Mixed holds related holds alternative; files of the JSON stand before uploaded ones."""
        api = await self.start()
        data = b64encode(b"x" * 100).decode()
        request = {
            **LETTER,
            "HTML": "<b>x</b>",
            "AlternativeFiles": [{"ContentType": "text/calendar", "Data": data}],
            "InlineFiles": [
                {"Name": "i", "ContentType": "image/png", "ContentID": "<i>", "Data": data}
            ],
            "AttachedFiles": [{"Name": "Rübe.txt", "ContentType": "text/plain", "Data": data}],
        }
        answered = await api.upload(
            request,
            Part("attachedfile", PNG, "up.png"),
            Part("attachedfile", b"\0\1\2", "up.bin"),
            Part("inlinefile", b"z", "z.txt", {"Content-Type": "text/x-z", "Content-ID": "<z>"}),
            Part("ignoredfile", b"z", "never.txt"),
        )
        self.assertEqual(answered.status, 200, answered)
        [message] = await self.arrived(api)
        told = (await api.call("MessageGet", {"MsgID": message.id})).json["Structure"]
        self.assertEqual(
            tree(told),
            (
                "multipart/mixed",
                (
                    "multipart/related",
                    ("multipart/alternative", "text/plain", "text/html", "text/calendar inline"),
                    "image/png inline i <i>",
                    "text/x-z inline z.txt <z>",
                ),
                "text/plain attachment Rübe.txt",
                "image/png attachment up.png",
                "/ attachment up.bin",
            ),
        )
        raw = await self.raw(api, message.id)
        self.assertIn(b"filename*=utf-8''R%C3%BCbe.txt", raw)
        self.assertIn(b'filename=""', raw)
        self.assertNotIn(b"never.txt", raw)
        part = await api.call("MessagePartGet", {"MsgID": message.id, "PartPath": [2]})
        self.assertEqual(part.body, PNG)

    async def test_detected_types(self) -> None:
        """A file without a type gets that of its first bytes, in JSON as in a form."""
        api = await self.start()
        png = {"Data": b64encode(PNG).decode(), "Name": "a"}
        content = await self.sent_bytes(api, AttachedFiles=[png, {"Data": "aGVsbG8=", "Name": "b"}])
        kinds = [part.get_content_type() for part in parsed(content).iter_attachments()]
        self.assertEqual(kinds, ["image/png", "text/plain"])

    async def test_smtputf8(self) -> None:
        """A localpart beyond ASCII makes the header UTF-8."""
        api = await self.start()
        content = await self.sent_bytes(
            api, To=[{"Name": "Jürg", "Address": "user@example.org"}], CC=people("jürg@x.example")
        )
        self.assertIn('To: "Jürg" <user@example.org>'.encode(), content)

    async def test_large(self) -> None:
        """Large uploads are streamed, and come out as they went in."""
        api = await self.start()
        data = bytes(range(256)) * 12_000
        answered = await api.upload(LETTER, Part("attachedfile", data, "large.bin"))
        self.assertEqual(answered.status, 200, answered)
        [message] = await self.arrived(api)
        part = await api.call("MessagePartGet", {"MsgID": message.id, "PartPath": [1]})
        self.assertEqual(part.body, data)
        folder = api.server.settings.data_dir / "uploads"
        self.assertEqual([path for path in folder.rglob("*") if path.is_file()], [])


def tree(part: dict[str, Any]) -> Any:
    """A structure, short."""
    words = (part[name] for name in ("ContentDisposition", "Filename", "ContentID"))
    here = " ".join([part["ContentType"], *(word for word in words if word)])
    return (here, *map(tree, part["Parts"])) if part["Parts"] else here


class QueuedTests(APICase):
    """What is queued, and what is answered of it."""

    async def test_submissions(self) -> None:
        """One for each recipient, in order, duplicates kept, the address as it was given."""
        api = await self.start()
        result = await api.send(
            To=people("A@Example.NET", "b@x.example"), CC=people("A@Example.NET"), BCC=people(USER)
        )
        self.assertEqual(list(result), ["MessageID", "Submissions"])
        self.assertEqual(
            [one["Address"] for one in result["Submissions"]],
            ["A@Example.NET", "b@x.example", "A@Example.NET", USER],
        )
        ids = [one["QueueMsgID"] for one in result["Submissions"]]
        self.assertEqual(len(set(ids)), 4)
        self.assertTrue(all(0 < id_ < 2**53 for id_ in ids))
        self.assertEqual([one["FromID"] for one in result["Submissions"]], [""] * 4)
        for message in await self.arrived(api, 4):
            content = await self.raw(api, message.id)
            self.assertNotIn(b"\r\nBcc", content)
            self.assertNotRegex(content, rb"(?m)^\s+for ")  # RFC 5321 section 7.2
            self.assertNotIn(b"127.0.0.1", content)

    async def test_from_ids(self) -> None:
        """With a login that is set for it, each recipient has its own reverse-path."""
        api = await self.start()
        control = self.control(api)
        details = AccountDetails(from_id_logins=["user+api@example.org"])
        await control.directory.set_account("user", details)
        await self.until(
            lambda: any(a.from_id_logins for a in api.server.server.directory.accounts.values())
        )
        plain = await api.send()
        self.assertEqual(plain["Submissions"][0]["FromID"], "")
        [before] = await self.arrived(api)
        self.assertEqual(before.reverse_path, USER)
        api = api.logged_in("user+api@example.org", PASSWORD)
        result = await api.send(From=people("user+x@example.org"), To=people(USER, "b@x.example"))
        ids = [one["FromID"] for one in result["Submissions"]]
        for id_ in ids:
            self.assertRegex(id_, f"^{ID.pattern}$")
        paths = [m.reverse_path for m in await self.arrived(api, 3)]
        self.assertEqual(sorted(paths[1:]), sorted(f"user+{id_}@example.org" for id_ in ids))

    async def test_trace(self) -> None:
        """Received names us twice and the one recipient, and not where the caller sits."""
        api = await self.start()
        await api.send()
        [message] = await self.arrived(api)
        head = (await self.raw(api, message.id)).partition(b"\r\nFrom:")[0].decode()
        self.assertIn("for <user@example.org>", head)
        self.assertNotIn("127.0.0.1", head)

    async def test_extra_and_release(self) -> None:
        """Extra is kept as it is; a release ahead waits, one that is past goes now."""
        api = await self.start()
        ahead = datetime.now(UTC) + timedelta(days=59)
        result = await api.send(
            FutureRelease=ahead.isoformat(), Extra={"user-ID": "456", "": "☺"}, RequireTLS=False
        )
        [one] = result["Submissions"]
        shown = (await self.control(api).queue.history(one["QueueMsgID"])).view.entry
        self.assertLess(abs(shown.next_attempt_at - ahead.timestamp()), 2)
        await api.send(FutureRelease="2001-01-01T00:00:00Z")
        await self.arrived(api, 1)

    async def test_save_sent(self) -> None:
        """The copy has Bcc, no trace, and is seen."""
        api = await self.start()
        await api.send(To=people("a@x.example"), BCC=people("b@x.example"), SaveSent=True)
        [message] = await self.arrived(api, 1, "Sent")
        content = await self.raw(api, message.id)
        self.assertTrue(content.startswith(b"Bcc: <b@x.example>\r\nFrom:"), content[:100])
        told = (await api.call("MessageGet", {"MsgID": message.id})).json
        meta = told["Meta"]
        self.assertEqual(meta["Flags"], ["$notjunk", "\\seen"])
        self.assertEqual((meta["RcptTo"], meta["MsgFrom"], meta["RemoteIP"]), ("", "", ""))
        self.assertEqual((meta["MailboxName"], meta["DSN"]), ("Sent", False))
        self.assertEqual(told["Message"]["BCC"], [{"Name": "", "Address": "b@x.example"}])

    async def test_sent_over_quota(self) -> None:
        """The message is queued all the same."""
        api = await self.start()
        control = self.control(api)
        await control.directory.set_account("other", AccountDetails(quota_bytes=10))
        await self.until(
            lambda: any(a.quota_bytes for a in api.server.server.directory.accounts.values())
        )
        other = api.logged_in("other@example.org", OTHER_PASSWORD)
        answered = await other.call("Send", {**LETTER, "SaveSent": True})
        self.assertEqual(answered.code, "sentOverQuota")
        await self.arrived(api, 1)

    async def test_message_limit(self) -> None:
        """What SMTP and the webapi send counts as one."""
        api = await self.start()
        full = api.logged_in("full@example.org", "123456789")
        three = {**LETTER, "To": people("a@x.example", "b@x.example", "c@x.example")}
        self.assertEqual((await full.call("Send", three)).code, "messageLimitReached")
        await full.send(To=people("a@x.example", "b@x.example"))
        self.assertEqual((await full.call("Send", LETTER)).code, "messageLimitReached")
