"""Mail to an application's endpoint: what each answer means, and what is posted."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from typing import Any

from attrs import define, evolve, field
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailrelay.handoff.settings import HandOffSettings, handed_off, problems_of
from mailrelay.handoff.told import JSONBodies
from mailrelay.handoff.transport import (
    HandOff,
    HandOffTransport,
    idempotency_key,
    outcome_of_answer,
)
from mailrelay.net.http import ClientSettings, HTTPAnswer, HTTPClient
from mailrelay.net.threads import AtOnce
from mailrelay.net.tls import client_tls, trust_root
from mailrelay.policy.file_links import PURPOSE, FileLinks
from mailrelay.policy.links import Links
from mailrelay.queue.destination import Destination
from mailrelay.queue.entry import Content, Entry, Message
from mailrelay.queue.outcome import Deferral, Delivered, PermanentFailure
from mailrelay.queue.transport import Job, Result
from mailrelay.routing.ways import ToEndpoint
from mailrelay.smtp.address import Address
from mailrelay.testing.certificates import Authority
from mailrelay.testing.fakes import FakeResolver

SETTINGS = HandOffSettings("app", "http://127.0.0.1/in", domains=["app.test"], token="sesame")
BODY = b"Subject: hello\r\n\r\n.a dot\r\n\xff\x00 and more\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"
BASE = "https://mail.test"
LARGE = bytes(range(256)) * 4 * 1024 * 2  # 2 MiB


def answer(status: int, body: bytes = b"", **headers: str) -> HTTPAnswer:
    """An answer that is whole."""
    return HTTPAnswer(status, headers, body, True)


class OutcomeTests(SynchronousTestCase):
    """Answers."""

    def test_statuses(self) -> None:
        """Only 2xx is delivered; only what is set to be final fails for good."""
        final = evolve(SETTINGS, permanent_statuses=[400, 422])
        for status in range(200, 600):
            outcome = outcome_of_answer(answer(status), SETTINGS)
            self.assertIsInstance(outcome, Delivered if status < 300 else Deferral, status)
            outcome = outcome_of_answer(answer(status), final)
            self.assertEqual(isinstance(outcome, PermanentFailure), status in (400, 422), status)

    def test_text(self) -> None:
        """What the application says is told, in one line of bounded length."""
        told = outcome_of_answer(answer(503, b"down\r\nfor \x1b[31mnow" + b"!" * 999), SETTINGS)
        text = str(told.reply)
        self.assertIn("answered 503: down", text)
        self.assertTrue(text.isprintable() and len(text) < 300, text)

    def test_required_text(self) -> None:
        """A login page's 200 is nobody's receipt."""
        wanting = evolve(SETTINGS, required_text="queued as")
        for body, kind in ((b"<html>log in", Deferral), (b'{"m":"queued as 7"}', Delivered)):
            self.assertIsInstance(outcome_of_answer(answer(200, body), wanting), kind)


class SettingsTests(SynchronousTestCase):
    """``[[handoff]]``."""

    def test_problems(self) -> None:
        """Each names its setting."""
        self.assertEqual(list(problems_of(SETTINGS)), [])
        for given, name in (
            ({"url": "http://app.example/in"}, "url"),
            ({"url": "ftp://app.example/in"}, "url"),
            ({"domains": []}, "domains"),
            ({"domains": ["a..b"]}, "domains[1]"),
            ({"addresses": ["nobody"]}, "addresses[1]"),
            ({"permanent_statuses": [503]}, "permanent_statuses[1]"),
            ({"name": ""}, "name"),
            ({"token": "a\nb"}, "token"),
            ({"timeout": 0.0}, "timeout"),
            ({"body": "xml"}, "body"),
            ({"body": "json", "synchronous": True}, "body"),
            ({"sign_key": "00" * 32}, "sign_key"),
            ({"sign_key": "a b:" + "00" * 32}, "sign_key"),
            ({"sign_key": "k1:" + "00" * 31}, "sign_key"),
            ({"sign_key": "k1:" + "zz" * 32}, "sign_key"),
            ({"concurrency": 0}, "concurrency"),
        ):
            found = [setting for setting, _ in problems_of(evolve(SETTINGS, **given))]
            self.assertEqual(found, [name], given)

    def test_recipients(self) -> None:
        """Domains and addresses as they are looked up."""
        self.assertEqual(list(problems_of(evolve(SETTINGS, sign_key="k1:" + "00" * 32))), [])
        section = evolve(SETTINGS, domains=["App.Test", "bücher.example"], addresses=["A@b.test"])
        self.assertEqual(
            set(handed_off([section])), {"@app.test", "@xn--bcher-kva.example", "a@b.test"}
        )
        self.assertNotIn("sesame", repr(section))


@define
class Application:
    """An HTTP server that keeps what it is posted, and answers as it is told."""

    answers: list[bytes]
    requests: list[bytes] = field(factory=list)
    port: Any = None

    def listen(self, case: TestCase, tls: Any = None) -> int:
        """Where it listens until the test ends."""
        application = self

        class Posted(Protocol):
            data = b""

            def dataReceived(self, data: bytes) -> None:
                self.data += data
                head, end, body = self.data.partition(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                if end and len(body) == length:
                    application.requests.append(self.data)
                    assert self.transport is not None
                    self.transport.write(application.answers.pop(0))
                    self.transport.loseConnection()

        factory = Factory.forProtocol(Posted)
        listening: Any = reactor
        if tls is None:
            self.port = listening.listenTCP(0, factory, interface="127.0.0.1")
        else:
            self.port = listening.listenSSL(0, factory, tls, interface="127.0.0.1")
        case.addCleanup(self.port.stopListening)
        return int(self.port.getHost().port)


class TransportTests(TestCase):
    """Attempts at an application on loopback."""

    timeout = 60

    def transport(
        self, port: int, *, scheme: str = "http", root: Any = None, **given: Any
    ) -> HandOffTransport:
        """To the endpoint ``app``."""
        url = f"{scheme}://127.0.0.1:{port}/in"
        settings = evolve(SETTINGS, **{"url": url, **given})
        allowed = ClientSettings(allowed_networks=["127.0.0.0/8"])
        the_reactor: Any = reactor
        client = HTTPClient(the_reactor, the_reactor, FakeResolver(), client_tls(root), allowed)
        self.addCleanup(client.close)
        self.content = Content(b"Received: from a\r\n", BODY, None, len(BODY))
        self.spool = b""
        self.seconds = 0.0
        return HandOffTransport(
            "mx.example.org",
            {"app": HandOff(settings, client)}.get,
            lambda: 1000.0,
            lambda _: succeed(self.content),
            self.read,
            lambda: self.seconds,
            JSONBodies(AtOnce(), FileLinks(Links(b"s", PURPOSE), BASE, 60.0), self.read, lambda: 0),
        )

    def read(self, name: str, offset: int, size: int) -> Deferred[bytes]:
        """A block of what is in the spool."""
        return succeed(self.spool[offset : offset + size])

    async def attempt(
        self, transport: HandOffTransport, *recipients: str, attempts: int = 0, size: int = 100
    ) -> Result:
        """An attempt for a message."""
        sender = Address.parse("joe@sender.test")
        message = Message(7, None, sender, 1000.0, size, "smtp", remote_ip="192.0.2.1")
        entries = [
            Entry(70 + n, message, Address.parse(one), 1000.0, 1000.0, attempts=attempts)
            for n, one in enumerate(recipients or ("bob@app.test",))
        ]
        job = Job(Destination("handoff:app", ToEndpoint("app")), message, entries)
        return await transport.attempt(job)

    async def test_what_is_posted(self) -> None:
        """The whole message, byte by byte, with what tells of its envelope."""
        application = Application([OK])
        result = await self.attempt(self.transport(application.listen(self)), "bøb@app.test")
        self.assertIsInstance(result.outcomes[0], Delivered)
        [request] = application.requests
        head, _, body = request.partition(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
        self.assertEqual(head.split(b"\r\n")[0], b"POST /in HTTP/1.1")
        for name, value in (
            (b"Content-Type", b"message/rfc822"),
            (b"Authorization", b"Bearer sesame"),
            (b"X-Mailrelay-Id", b"7"),
            (b"X-Mailrelay-Attempt", b"1"),
            (b"X-Mailrelay-Mail-From", b"joe@sender.test"),
            (b"X-Mailrelay-Rcpt-To", b"b%C3%B8b@app.test"),
            (b"X-Mailrelay-Client", b"192.0.2.1"),
        ):
            self.assertEqual(fields[name.title()], value)
        added = "Return-Path: <joe@sender.test>\r\nDelivered-To: bøb@app.test\r\n"
        added += "X-Original-To: bøb@app.test\r\nReceived: from a\r\n"
        self.assertEqual(body, added.encode() + BODY)
        self.assertNotIn("sesame", "\n".join(result.attempt.transcript))

    async def test_secrets_in_the_url(self) -> None:
        """The query goes to the application, and into no history or log."""
        application = Application([OK])
        port = application.listen(self)
        transport = self.transport(port, url=f"http://127.0.0.1:{port}/in?key=sesame")
        result = await self.attempt(transport)
        self.assertIn(b"POST /in?key=sesame HTTP/1.1", application.requests[0])
        self.assertEqual(result.attempt.host, f"http://127.0.0.1:{port}/in")
        self.assertNotIn("sesame", repr(result))

    async def test_large(self) -> None:
        """Content in the spool is read in blocks, and arrives whole."""
        application = Application([OK])
        transport = self.transport(application.listen(self))
        self.spool, self.content = LARGE, Content(b"Received: x\r\n", None, "name", len(LARGE))
        sizes: list[int] = []
        read = self.read

        def noted(name: str, offset: int, size: int) -> Deferred[bytes]:
            sizes.append(size)
            return read(name, offset, size)

        result = await self.attempt(evolve(transport, read_spool=noted))
        self.assertIsInstance(result.outcomes[0], Delivered)
        body = application.requests[0].partition(b"\r\n\r\n")[2]
        self.assertEqual(
            hashlib.sha256(body.partition(b"Received: x\r\n")[2]).digest(),
            hashlib.sha256(LARGE).digest(),
        )
        self.assertEqual((len(sizes), max(sizes)), (8, 256 * 1024))

    async def test_signed(self) -> None:
        """What is signed is what is posted, small or in the spool; the secret is in no history."""
        secret = bytes(range(32))
        for large in (False, True):
            application = Application([OK])
            port = application.listen(self)
            url = f"http://127.0.0.1:{port}/in?a=b%20c"
            transport = self.transport(port, url=url, sign_key=f"k1:{secret.hex()}")
            if large:
                self.spool, self.content = LARGE, Content(b"", None, "name", len(LARGE))
            result = await self.attempt(transport)
            self.assertIsInstance(result.outcomes[0], Delivered)
            head, _, body = application.requests[0].partition(b"\r\n\r\n")
            lines = (line.decode().split(": ", 1) for line in head.split(b"\r\n")[1:])
            fields = {name.lower(): value for name, value in lines}
            said = (
                *("mailrelay-hmac-v1", "POST", "/in", "a=b%20c", "k1"),
                *(fields["mailrelay-timestamp"], fields["idempotency-key"], "message/rfc822"),
                hashlib.sha256(body).hexdigest(),
            )
            expected = hmac.new(secret, "\n".join(said).encode(), "sha256").hexdigest()
            self.assertEqual(fields["mailrelay-signature"], f"v1={expected}")
            self.assertEqual((fields["mailrelay-key"], said[5]), ("k1", "1000"))
            self.assertNotIn(secret.hex(), repr(result))

    async def test_spool_file_that_is_too_short(self) -> None:
        """It is not passed for whole."""
        application = Application([OK])
        transport = self.transport(application.listen(self))
        self.spool = LARGE[:1000]
        self.content = Content(b"", None, "name", len(LARGE))
        result = await self.attempt(transport)
        self.assertIsInstance(result.outcomes[0], Deferral)
        self.assertEqual(application.requests, [])

    async def test_one_key_for_all_attempts(self) -> None:
        """Of an entry; another recipient has another."""
        application = Application([b"HTTP/1.1 503 no\r\nContent-Length: 0\r\n\r\n", OK, OK])
        transport = self.transport(application.listen(self))
        for attempts, recipients in ((0, ["a@app.test"]), (1, ["a@app.test", "b@app.test"])):
            await self.attempt(transport, *recipients, attempts=attempts)
        keys = [
            next(line for line in request.split(b"\r\n") if line.lower().startswith(b"idempotency"))
            for request in application.requests
        ]
        self.assertEqual((keys[0], keys[0] == keys[2]), (keys[1], False))

    async def test_out_of_order(self) -> None:
        """What says that the endpoint is wrong, or down, has the others wait; nothing bounces."""
        for first, is_out in (
            (b"401 who", True),
            (b"302 there\r\nLocation: http://127.0.0.1/", True),
            (b"500 oh", True),
            (b"400 what", False),
        ):
            application = Application([b"HTTP/1.1 " + first + b"\r\nContent-Length: 0\r\n\r\n"])
            result = await self.attempt(self.transport(application.listen(self)))
            self.assertIsInstance(result.outcomes[0], Deferral)
            self.assertEqual(result.host_failed, is_out, first)
            self.assertEqual(len(application.requests), 1)

    async def test_cut(self) -> None:
        """An answer that breaks off before its status is none."""
        application = Application([b"HTTP/1.1 20"])
        result = await self.attempt(self.transport(application.listen(self)))
        self.assertIsInstance(result.outcomes[0], Deferral)
        self.assertTrue(result.host_failed)

    async def test_asked_for_time(self) -> None:
        """Retry-After is kept: nothing is posted before."""
        busy = b"HTTP/1.1 429 slow\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n"
        application = Application([busy, OK])
        transport = self.transport(application.listen(self))
        for seconds, kind, posts in ((0, Deferral, 1), (59, Deferral, 1), (60, Delivered, 2)):
            self.seconds = seconds
            result = await self.attempt(transport)
            self.assertIsInstance(result.outcomes[0], kind)
            self.assertEqual(len(application.requests), posts)

    async def test_too_large(self) -> None:
        """It is returned without a connection."""
        transport = self.transport(1, most_bytes=99)
        result = await self.attempt(transport, size=100)
        self.assertIsInstance(result.outcomes[0], PermanentFailure)

    async def test_where_none_may_be_called(self) -> None:
        """An endpoint on a private address needs allowed_networks."""
        the_reactor: Any = reactor
        client = HTTPClient(
            the_reactor, the_reactor, FakeResolver(), client_tls(), ClientSettings()
        )
        transport = evolve(self.transport(1), endpoints={"app": HandOff(SETTINGS, client)}.get)
        result = await self.attempt(transport)
        self.assertIn("not a public address", str(result.outcomes[0].reply))

    async def test_no_endpoint_any_more(self) -> None:
        """The mail waits until somebody says where it goes."""
        transport = evolve(self.transport(1), endpoints=lambda name: None)
        result = await self.attempt(transport)
        self.assertIsInstance(result.outcomes[0], Deferral)

    async def test_trusted_ca(self) -> None:
        """A certificate of one's own authority is right when that is named, else wrong."""
        authority = Authority()
        tls = authority.options(["127.0.0.1"])
        file = Path(self.mktemp())
        file.write_bytes(authority.certificate.public_bytes(Encoding.PEM))
        for root, kind in ((trust_root(file), Delivered), (None, Deferral)):
            application = Application([OK])
            port = application.listen(self, tls)
            result = await self.attempt(self.transport(port, scheme="https", root=root))
            self.assertIsInstance(result.outcomes[0], kind)


class KeyTests(SynchronousTestCase):
    """Idempotency keys."""

    def test_characters(self) -> None:
        """Printable ASCII without blanks, whatever the recipient is."""
        message = Message(7, None, None, 0.0, 1, "smtp")
        entry = Entry(9, message, Address("ø ø", "app.test"), 0.0, 0.0)
        key = idempotency_key("mx.example.org", entry)
        self.assertRegex(key, r"^mx\.example\.org\.9\.[0-9a-f]{16}$")
