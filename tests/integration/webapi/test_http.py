"""webapi.md section 1: paths, methods, the order of the checks, JSON, limits."""

from __future__ import annotations

import gzip
import json
import socket
from urllib.parse import urlencode

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from mailrelay.config.settings import Settings
from mailrelay.control.directory import AccountDetails
from mailrelay.directory.login import LoginSettings
from mailrelay.directory.model import Account
from mailrelay.policy.limits import Limits
from mailrelay.testing.loopback import PASSWORD
from mailrelay.web.settings import HTTPSettings
from tests.integration.webapi.api import API, BASE, BOUNDARY, FORM, APICase, Part, basic, multipart
from tests.integration.world import until

METHODS = [
    "MessageDelete",
    "MessageFlagsAdd",
    "MessageFlagsRemove",
    "MessageGet",
    "MessageMove",
    "MessagePartGet",
    "MessageRawGet",
    "Send",
    "SuppressionAdd",
    "SuppressionList",
    "SuppressionPresent",
    "SuppressionRemove",
]
SECURITY = {
    "content-security-policy": "default-src 'self' 'unsafe-inline' data:",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "deny",
}
TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
NOBODY = "nobody@example.org"


class PathTests(APICase):
    """The table of paths and methods."""

    async def test_paths(self) -> None:
        """Each path answers as mox's does, to each method, with headers that keep pages safe."""
        api = await self.start()
        table = [
            ("GET", "/webapi", 303, "/webapi/"),
            ("GET", "/webapi/", 303, "/webapi/v0/"),
            ("POST", "/webapi/", 405, TEXT),
            ("PUT", "/webapi/", 405, TEXT),
            ("GET", "/webapi/v0/", 200, HTML),
            ("POST", "/webapi/v0/", 200, HTML),
            ("PUT", "/webapi/v0/", 200, HTML),
            ("GET", "/webapi/v0", 404, TEXT),
            ("POST", "/webapi/v0/send", 404, TEXT),
            ("POST", "/webapi/v0/Nothing", 404, TEXT),
            ("POST", "/webapi/v0/Send/", 404, TEXT),
            ("POST", "/webapi/v0/../v0/Send", 404, TEXT),
            ("POST", "/webapi/v0/%53end", 404, TEXT),
            ("GET", "/webapi/v1/Send", 404, TEXT),
            *(("GET", BASE + name, 200, HTML) for name in METHODS),
            *((verb, BASE + "Send", 405, TEXT) for verb in ("PUT", "OPTIONS", "DELETE", "PATCH")),
            ("HEAD", BASE + "Send", 405, TEXT),
        ]
        for verb, path, status, told in table:
            answered = await api.ask(verb, path, headers={"Origin": "http://elsewhere.test"})
            where = f"{verb} {path}"
            self.assertEqual(answered.status, status, where)
            name = "location" if status == 303 else "content-type"
            self.assertEqual(answered.headers[name], told, where)
            self.assertEqual(SECURITY.items() - answered.headers.items(), set(), where)
            self.assertFalse([n for n in answered.headers if n.startswith("access-")], where)
            self.assertNotIn("www-authenticate", answered.headers, where)
        wrong = await api.ask("PUT", BASE + "Send")
        self.assertEqual(wrong.body.strip(), b"405 - method not allowed - use get or post")

    async def test_index(self) -> None:
        """The index names every method, sorted, and robots stay away."""
        api = await self.start()
        page = (await api.ask("GET", BASE)).body.decode()
        self.assertEqual([n for n in METHODS if f'href="{n}"' in page], METHODS)
        places = [page.index(f'href="{name}"') for name in METHODS]
        self.assertEqual(places, sorted(places))
        self.assertIn('name="robots" content="noindex"', page)

    async def test_not_there(self) -> None:
        """A listener that does not name the webapi has none of it."""
        api = await self.start()
        settings: Settings = api.server.settings
        without = [evolve(section, webapi=False) for section in settings.listener]
        api = await self.start(listener=without)
        for path in ("/webapi/", BASE, BASE + "Send"):
            self.assertEqual((await api.ask("GET", path)).status, 404)


class OrderTests(APICase):
    """The order of the checks: of several mistakes the first is told."""

    async def test_login(self) -> None:
        """Without the right login it is 401 with a challenge, whatever the body is."""
        api = await self.start()
        wrong = [
            {},
            {"Authorization": "Bearer x"},
            {"Authorization": "Basic"},
            {"Authorization": "Basic !!!"},
            {"Authorization": "Basic bm9jb2xvbg=="},
            {"Authorization": "Basic /////w=="},
            basic(password="wrong"),
            basic(NOBODY),
            basic("user@nowhere.example"),
            basic("user@off.example"),
            basic("user"),
            basic("user@example.org\0", "x"),
        ]
        bodies = set()
        for headers in wrong:
            answered = await api.ask("POST", BASE + "Send", b"not a form", headers)
            self.assertEqual(answered.status, 401, headers)
            self.assertEqual(answered.headers["www-authenticate"], "Basic realm=webapi")
            self.assertEqual(answered.headers["content-type"], TEXT)
            if len(headers.get("Authorization", "")) > 30:
                bodies.add(answered.body)
        self.assertEqual(len(bodies), 1)  # nothing tells who exists

    async def test_logins(self) -> None:
        """Any address of the account logs in, in any case, with a suffix."""
        api = await self.start()
        for login in (
            "USER@Example.ORG",
            "user+app@example.org",
            "user@dash.example",
            "user-x@dash.example",
            "user@bücher.example",
            "Case@case.example",
        ):
            answered = await api.logged_in(login, PASSWORD).call("SuppressionList")
            self.assertEqual(answered.status, 200, login)
        for login in ("case@case.example", "any@catch.example"):
            answered = await api.logged_in(login, PASSWORD).call("SuppressionList")
            self.assertEqual(answered.status, 401, login)

    async def test_disabled_login(self) -> None:
        """A login that is switched off gets the answer of a wrong one."""
        api = await self.start()
        control = self.control(api)
        await control.directory.set_account("user", AccountDetails(login_disabled=True))
        await self.until(lambda: any(a.login_disabled for a in self.accounts(api)))
        self.assertEqual((await api.call("SuppressionList")).status, 401)

    def accounts(self, api: API) -> list[Account]:
        """Those the server knows."""
        return list(api.server.server.directory.accounts.values())

    async def test_too_many_failures(self) -> None:
        """Too many failures are 429 even with the right password; other addresses are served."""
        api = await self.start(login=LoginSettings(failures_per_minute=3))
        wrong = api.logged_in(NOBODY, "x")
        answers = [(await wrong.call("Send")).status for _ in range(4)]
        self.assertEqual(answers, [401, 401, 401, 429])
        answered = await api.call("SuppressionList")
        self.assertEqual((answered.status, answered.headers["content-type"]), (429, TEXT))

    async def test_too_many_requests(self) -> None:
        """Requests of any kind are counted; the page over the limit is 429 as well."""
        api = await self.start(http=HTTPSettings(requests_per_minute=2))
        answers = [(await api.ask("GET", BASE)).status for _ in range(3)]
        self.assertEqual(answers, [200, 200, 429])
        self.assertEqual((await api.call("Send")).status, 429)

    async def test_form(self) -> None:
        """What is wrong with the form is told by protocol errors, in order."""
        api = await self.start()
        table = [
            ("a/b; =", b"request={}", "unknown content-type"),
            ("", b"request={}", "unknown content-type"),
            ("application/json", b"{}", ""),
            (FORM, b"request=%FF", "parsing form"),
            (FORM, b"", "request"),
            (FORM, b"request=", "request"),
            (FORM, b"other=1", "request"),
            ("multipart/form-data", b"", "unknown content-type"),
            ("multipart/form-data; boundary=x", b"nothing", "parsing form"),
            ("multipart/form-data; boundary=x", b"--x--\r\n", "request"),
            (FORM, b"request=[", "parsing request: "),
        ]
        for content_type, body, told in table:
            answered = await api.post("Send", body, content_type)
            self.assertEqual(answered.code, "protocol", (content_type, body))
            self.assertIn(told, answered.message)
        inquiry = await api.ask("POST", BASE + "Send?request={}", b"", {**api.login})
        self.assertEqual(inquiry.code, "protocol")

    async def test_form_kinds(self) -> None:
        """Both kinds of form are read; of several values the first counts."""
        api = await self.start()
        body = urlencode([("request", '{"EmailAddress":"a@b.example"}'), ("request", "x")]).encode()
        self.assertEqual((await api.post("SuppressionPresent", body)).json, {"Present": False})
        part = Part("request", b'{"EmailAddress":"a@b.example"}')
        content_type = f'multipart/form-data; boundary="{BOUNDARY}"'
        answered = await api.post("SuppressionPresent", multipart([part]), content_type)
        self.assertEqual(answered.json, {"Present": False})


class JSONTests(APICase):
    """JSON as Go reads and writes it."""

    async def test_requests(self) -> None:
        """Names in any case, missing and null are zero, what follows is ignored; else protocol."""
        api = await self.start()
        fine = [
            '{"EMAILADDRESS":"a@b.example"}',
            '{"emailAddress":"a@b.example"}',
            '{"EmailAddress":"a@b.example"} trailing',
            ' \n{"EmailAddress":"a@b.example"}{"x":1}',
            '{"EmailAddress":"z@b.example","EmailAddress":"a@b.example"}',
        ]
        for text in fine:
            answered = await api.call("SuppressionPresent", text)
            self.assertEqual(answered.json, {"Present": False}, text)
        zero = ["null", "{}", '{"EmailAddress":null}']
        for text in zero:
            self.assertEqual((await api.call("SuppressionPresent", text)).code, "badAddress", text)
        wrong = [
            "[]",
            '""',
            "1",
            "true",
            "{",
            '{"EmailAddress":1}',
            '{"EmailAddress":["a"]}',
            '{"EmailAddress":{}}',
            '{"Unknown":1}',
            '{"EmailAddress":"\\ud800@b.example"}',
            '{"EmailAddress":NaN}',
            "[" * 100_000,
        ]
        for text in wrong:
            answered = await api.call("SuppressionPresent", text)
            self.assertEqual(answered.code, "protocol", text)
            self.assertTrue(answered.message.startswith("parsing request: "), answered.message)

    async def test_numbers(self) -> None:
        """An id is a whole number of 64 bits; any other is a protocol error, not a crash."""
        api = await self.start()
        for text in (
            "1.5",
            "1.0",
            '"1"',
            "true",
            "1e3",
            "9223372036854775808",
            "9" * 5000,
            "1e999",
        ):
            answered = await api.call("MessageGet", f'{{"MsgID":{text}}}')
            self.assertEqual(answered.code, "protocol", text[:30])
        for text in ("1", "9007199254740993", "9223372036854775807", "-1", "0"):
            answered = await api.call("MessageGet", f'{{"MsgID":{text}}}')
            self.assertEqual(answered.code, "messageNotFound", text)

    async def test_empty_lists(self) -> None:
        """Nothing is an empty list or object, never null; the newline ends the answer."""
        api = await self.start()
        answered = await api.call("SuppressionList")
        self.assertEqual(answered.body, b'{"Suppressions":[]}\n')
        answered = await api.call("SuppressionAdd", {"EmailAddress": "a@b.example"})
        self.assertEqual(answered.body, b"{}\n")

    async def test_not_escaped(self) -> None:
        """The characters of HTML stand as they are in answers."""
        api = await self.start()
        await api.call("SuppressionAdd", {"EmailAddress": "a@b.example", "Reason": "<&>"})
        answered = await api.call("SuppressionList")
        self.assertIn(b'"Reason":"<&>"', answered.body)


class BodyLimitTests(APICase):
    """Sizes are judged before a body is read, and compression is refused."""

    async def test_declared_size(self) -> None:
        """A form that says it is larger than 10 MiB is answered without a byte of it."""
        api = await self.start()
        client = await api.server.connect("http")
        head = f"POST {BASE}Send HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\n"
        login = f"Authorization: {api.login['Authorization']}\r\n"
        client.send(f"{head}{login}Content-Length: 10485761\r\n\r\n".encode())
        answer = await client.reply()
        self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), answer)

    async def test_login_before_the_body(self) -> None:
        """Who is not logged in is refused by the header alone."""
        api = await self.start()
        client = await api.server.connect("http")
        head = f"POST {BASE}Send HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\n"
        client.send(f"{head}Content-Length: 1000000\r\n\r\n".encode())
        self.assertTrue((await client.reply()).startswith(b"HTTP/1.1 401 "))

    async def test_fields_too_large(self) -> None:
        """Fields over 10 MiB are protocol errors in both kinds of form; below they are read."""
        api = await self.start()
        large = {"EmailAddress": "a@b.example", "Reason": "x" * 10_400_000}
        for text, code in (
            (json.dumps(large), None),
            (json.dumps({**large, "Reason": "x" * 10_486_000}), "protocol"),
        ):
            answered = await api.post("SuppressionAdd", b"request=" + text.encode())
            self.assertEqual(answered.status, 400 if code else 200)
            if code:
                self.assertEqual(answered.code, code)
        parts = multipart([Part("request", b"x" * 10_700_000)])
        answered = await api.post("Send", parts, f"multipart/form-data; boundary={BOUNDARY}")
        self.assertEqual(answered.code, "protocol")

    async def test_compressed(self) -> None:
        """A compressed body is refused unread."""
        api = await self.start()
        body = gzip.compress(b"request={}")
        answered = await api.post("SuppressionList", body, headers={"Content-Encoding": "gzip"})
        self.assertEqual(answered.status, 415)

    async def test_client_that_goes(self) -> None:
        """A client that leaves amid its form is no failure of ours: trial sees what is logged."""
        api = await self.start()
        login = api.login["Authorization"]
        head = (
            f"POST {BASE}Send HTTP/1.1\r\nHost: localhost\r\nAuthorization: {login}\r\n"
            f"Content-Type: {FORM}\r\nContent-Length: 1000\r\n\r\nrequest="
        )
        port = api.server.port("http")

        def leave() -> None:
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                connection.sendall(head.encode())
                # The login is checked, and the form asked for, before we go.
                connection.settimeout(0.2)
                self.assertRaises(TimeoutError, connection.recv, 1)

        await deferToThread(leave)
        await until(reactor, lambda: not api.server.server._sites.connections)

    async def test_upload_too_large(self) -> None:
        """An upload that cannot fit into a message is refused while it comes."""
        api = await self.start(limits=evolve(Limits(), message_bytes=100_000))
        part = Part("attachedfile", b"x" * 200_000, "big.bin")
        answered = await api.upload({"To": [{"Address": "a@b.example"}], "Text": "x"}, part)
        self.assertEqual(answered.code, "messageTooLarge")


class SafetyTests(APICase):
    """Threats 5, 21, 22 and 26, for the webapi."""

    async def test_foreign_page(self) -> None:
        """A form of another site, sent with the browser's login, is refused."""
        api = await self.start()
        port = api.server.port("http")
        own = f"http://127.0.0.1:{port}"
        table: list[tuple[dict[str, str], int]] = [
            ({"Origin": "https://evil.example"}, 403),
            ({"Origin": "null"}, 403),
            ({"Origin": "http://["}, 403),
            ({"Origin": own, "Sec-Fetch-Site": "cross-site"}, 403),
            ({"Origin": own, "Sec-Fetch-Site": "same-site"}, 403),
            ({"Origin": own}, 200),
            ({"Origin": "https://proxied.example", "Sec-Fetch-Site": "same-origin"}, 200),
            ({"Sec-Fetch-Site": "none"}, 200),
            ({}, 200),
        ]
        for headers, status in table:
            answered = await api.post("SuppressionList", b"request={}", headers=headers)
            self.assertEqual(answered.status, status, headers)

    async def test_smuggling(self) -> None:
        """Two lengths are none: 400, and the connection ends."""
        api = await self.start()
        login = f"Authorization: {api.login['Authorization']}\r\n"
        for both in (
            "Content-Length: 10\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 10\r\nContent-Length: 11\r\n",
            "Transfer-Encoding: chunked, identity\r\n",
            "Content-Length: +10\r\n",
        ):
            client = await api.server.connect("http")
            client.send(
                f"POST {BASE}Send HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\n"
                f"{login}{both}\r\nrequest={{}}".encode()
            )
            answer = await client.reply()
            self.assertRegex(answer, rb"^HTTP/1\.1 (400|501) ", both)
            await client.closed
        client = await api.server.connect("http")
        client.send(b"EHLO smtp.example\r\n")
        self.assertTrue((await client.reply()).startswith(b"HTTP/1.1 400 "))

    async def test_call_count(self) -> None:
        """Calls are counted by method and by how they ended."""
        api = await self.start()
        await api.call("SuppressionList")
        await api.call("SuppressionPresent", {"EmailAddress": "x"})
        await api.logged_in(NOBODY, "x").call("Send")
        text = (await api.ask("GET", "/metrics")).body.decode()
        for labels in (
            'method="SuppressionList",result="ok"',
            'method="SuppressionPresent",result="badAddress"',
            'method="Send",result="badauth"',
        ):
            self.assertIn(labels, text)
