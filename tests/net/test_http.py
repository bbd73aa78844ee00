"""Calls to URLs: guarded, bounded, in time."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, evolve, field
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailrelay.net.http import (
    MOST_BODY_BYTES,
    MOST_HEADER_BYTES,
    CallFailed,
    ClientSettings,
    HTTPAnswer,
    HTTPClient,
)
from mailrelay.net.resolver import MXHost, Resolver
from mailrelay.net.tls import client_tls
from mailrelay.testing.certificates import Authority
from mailrelay.testing.fakes import FakeResolver

HERE = ("127.0.0.0/8",)
LOCAL = FakeResolver(hosts={"hook.example": ["127.0.0.1"]})
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\nX-A: 2\r\n\r\nok"


@define
class Turning:
    """A name that is somewhere else at each look-up: rebinding."""

    answers: list[list[str]]
    asked: list[str] = field(factory=list)

    def mx_hosts(self, domain: str) -> Deferred[Sequence[MXHost]]:
        """See Resolver."""
        raise NotImplementedError

    def texts(self, name: str) -> Deferred[Sequence[bytes]]:
        """See Resolver."""
        raise NotImplementedError

    def pointers(self, ip: str) -> Deferred[Sequence[str]]:
        """See Resolver."""
        raise NotImplementedError

    def addresses(self, host: str, *, ipv4: bool, ipv6: bool) -> Deferred[Sequence[str]]:
        """See Resolver."""
        self.asked.append(host)
        return succeed(self.answers.pop(0))


class GuardTests(SynchronousTestCase):
    """Threat 7: no connection is made to where none may be."""

    def setUp(self) -> None:
        """A reactor that notes whom it is told to connect to."""
        self.reactor = MemoryReactorClock()

    def call(self, url: str, resolver: Resolver, *allowed: str) -> Deferred[HTTPAnswer]:
        """A call of 30 seconds."""
        settings = ClientSettings(allowed)
        client = HTTPClient(self.reactor, self.reactor, resolver, client_tls(), settings)
        return Deferred.fromCoroutine(client.post(url, {}, b"{}", 30))

    def refused(self, url: str, resolver: Resolver) -> str:
        """The text with which it failed without a connection."""
        text = str(self.failureResultOf(self.call(url, resolver), CallFailed).value)
        self.assertEqual(self.reactor.tcpClients, [], url)
        return text

    def test_addresses(self) -> None:
        """Names and literals of what is not global, or if only one address of several is not."""
        inside = ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "fd00::1"]
        for address in inside:
            for addresses in ([address], ["8.8.8.8", address], [address, "8.8.8.8"]):
                resolver = FakeResolver(hosts={"a.example": addresses})
                self.assertIn("not a public address", self.refused("http://a.example/", resolver))
            literal = f"[{address}]" if ":" in address else address
            self.refused(f"http://{literal}/", FakeResolver())
            self.refused(f"https://{literal}:25/", FakeResolver())

    def test_urls(self) -> None:
        """What is no plain URL is not even resolved."""
        resolver = Turning([])
        for url in (
            "http://2130706433/",
            "http://u@a.example/",
            "ftp://a.example/",
            "http://0x7f.1",
        ):
            self.refused(url, resolver)
        self.assertEqual(resolver.asked, [])

    def test_no_address(self) -> None:
        """Names that are not there, or not now."""
        resolver = FakeResolver(hosts={"none.example": []}, failing=frozenset({"late.example"}))
        self.assertIn("has no address", self.refused("http://none.example", resolver))
        self.assertIn("does not exist", self.refused("http://nx.example", resolver))
        self.assertIn("Timeout", self.refused("http://late.example", resolver))

    def test_by_the_address_that_was_looked_at(self) -> None:
        """One look-up a connection; the second, which answers 127.0.0.1, is looked at again."""
        resolver = Turning([["8.8.8.8"], ["127.0.0.1"]])
        first = self.call("http://a.example:81/", resolver)
        self.assertEqual(resolver.asked, ["a.example"])
        self.assertEqual([client[:2] for client in self.reactor.tcpClients], [("8.8.8.8", 81)])
        self.reactor.tcpClients.clear()
        self.refused("http://a.example:81/", resolver)
        first.cancel()
        self.failureResultOf(first, CallFailed)

    def test_allowed_networks(self) -> None:
        """An operator's network is called."""
        call = self.call("http://a.example/", Turning([["10.1.2.3"]]), "10.0.0.0/8")
        self.assertEqual([client[0] for client in self.reactor.tcpClients], ["10.1.2.3"])
        call.cancel()
        self.failureResultOf(call, CallFailed)

    def test_deadline_while_connecting(self) -> None:
        """The deadline holds for all addresses together."""
        call = self.call(
            "http://a.example/", Turning([["8.8.8.8", "8.8.4.4", "1.1.1.1", "9.9.9.9"]])
        )
        self.reactor.pump([9.0, 9.0, 9.0])
        self.assertNoResult(call)
        self.reactor.advance(4)
        text = str(self.failureResultOf(call, CallFailed).value)
        self.assertEqual(text, "no answer within 30 seconds")
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_fields(self) -> None:
        """What would be two fields is none."""
        client = HTTPClient(
            self.reactor, self.reactor, FakeResolver(), client_tls(), ClientSettings()
        )
        for fields in (
            {"A": "b\r\nC: d"},
            {"A\r\nB": "c"},
            {"A b": "c"},
            {"": "a"},
            {"A": "\u2028"},
        ):
            call = Deferred.fromCoroutine(client.post("http://8.8.8.8/", fields, b"", 30))
            self.failureResultOf(call, CallFailed)
        self.assertEqual(self.reactor.tcpClients, [])


class Receiver(Protocol):
    """Says what the test told it for each request that is whole; notes requests."""

    factory: Receivers

    def connectionMade(self) -> None:
        """See Protocol."""
        self.received = b""
        self.factory.connections += 1
        self.factory.open.add(self)

    def connectionLost(self, reason: Any = None) -> None:
        """See Protocol."""
        self.factory.open.discard(self)

    def dataReceived(self, data: bytes) -> None:
        """See Protocol."""
        self.received += data
        head, ended, body = self.received.partition(b"\r\n\r\n")
        sizes = [int(line[16:]) for line in head.split(b"\r\n") if line.startswith(b"Content-L")]
        size = sizes[0] if sizes else 0  # of TLS to who speaks none
        if ended and len(body) >= size:
            self.factory.requests.append(self.received)
            self.received = b""
            assert self.transport is not None
            for piece in self.factory.answers.pop(0):
                if piece is None:
                    self.transport.loseConnection()
                else:
                    self.transport.write(piece)


class Receivers(Factory):
    """A scripted server: each request is answered with the next of ``answers``."""

    protocol: Any = Receiver
    noisy = False

    def __init__(self, *answers: Sequence[bytes | None]) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.connections = 0
        self.open: set[Receiver] = set()


class CallTests(TestCase):
    """Calls over loopback."""

    def start(
        self, *answers: Sequence[bytes | None], tls: CertificateOptions | None = None
    ) -> Receivers:
        """A server that gives ``answers``."""
        reactor: Any = the_reactor
        server = Receivers(*answers)
        port = (
            reactor.listenTCP(0, server, interface="127.0.0.1")
            if tls is None
            else reactor.listenSSL(0, server, tls, interface="127.0.0.1")
        )
        self.port = port.getHost().port
        self.addCleanup(port.stopListening)
        self.addCleanup(self.wait_until, lambda: not server.open)
        return server

    async def wait_until(self, condition: Any) -> None:
        """Wait for what another connection will do; 10 seconds at the most."""
        for _ in range(1000):
            if condition():
                return
            pause: Deferred[None] = Deferred()
            reactor: Any = the_reactor
            reactor.callLater(0.01, pause.callback, None)
            await pause
        self.fail("it did not happen")

    def client(self, tls: Any = None, resolver: Resolver = LOCAL) -> HTTPClient:
        """A client that may call loopback."""
        reactor: Any = the_reactor
        settings = evolve(ClientSettings(HERE), idle_connections=2)
        client = HTTPClient(reactor, reactor, resolver, tls or client_tls(), settings)
        self.addCleanup(client.close)
        return client

    async def post(
        self,
        client: HTTPClient,
        *,
        path: str = "/",
        scheme: str = "http",
        headers: Mapping[str, str] = {},
        timeout: float = 60,
    ) -> HTTPAnswer:
        """A call to hook.example."""
        url = f"{scheme}://hook.example:{self.port}{path}"
        return await client.post(url, headers, b'{"a":1}', timeout)

    async def failure(self, call: Any) -> str:
        """The text with which ``call`` fails."""
        try:
            answer = await call
        except CallFailed as error:
            self.assertNotIn("\n", str(error))
            return str(error)
        self.fail(f"it was answered: {answer}")

    async def test_what_is_sent_and_told(self) -> None:
        """Request line, Host, fields with their names, body; status, fields, body."""
        server = self.start([OK])
        answer = await self.post(
            self.client(), path="/a?b=c", headers={"X-Mox-Webhook-Id": "7", "Authorization": "B x"}
        )
        self.assertEqual((answer.status, answer.body_start, answer.is_whole), (200, b"ok", True))
        self.assertEqual(answer.headers["x-a"], "1, 2")
        head, _, body = server.requests[0].partition(b"\r\n\r\n")
        first, *fields = head.split(b"\r\n")
        self.assertEqual((first, body), (b"POST /a?b=c HTTP/1.1", b'{"a":1}'))
        host = f"Host: hook.example:{self.port}".encode()
        for wanted in (host, b"X-Mox-Webhook-Id: 7", b"Authorization: B x", b"Content-Length: 7"):
            self.assertIn(wanted, fields)

    async def test_redirect_is_an_answer(self) -> None:
        """Nobody is sent elsewhere."""
        location = b"HTTP/1.1 302 Found\r\nLocation: http://hook.example:1/\r\n"
        server = self.start([location + b"Content-Length: 0\r\n\r\n"])
        self.assertEqual((await self.post(self.client())).status, 302)
        self.assertEqual(len(server.requests), 1)

    async def test_no_proxy(self) -> None:
        """The environment names none."""
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            self.patch_environment(name, "http://127.0.0.1:1/")
        self.start([OK])
        self.assertEqual((await self.post(self.client())).status, 200)

    def patch_environment(self, name: str, value: str) -> None:
        """Set a variable until the test ends."""
        old = os.environ.get(name)
        os.environ[name] = value
        self.addCleanup(
            lambda: os.environ.pop(name) if old is None else os.environ.update({name: old})
        )

    async def test_kept_connection(self) -> None:
        """Calls one after the other go over one connection, with one look-up."""
        server = self.start(*[[OK]] * 5)
        resolver = Turning([["127.0.0.1"]])
        client = self.client(resolver=resolver)
        for _ in range(5):
            await self.post(client)
        self.assertEqual((server.connections, len(resolver.asked)), (1, 1))

    async def test_kept_connection_that_is_closed(self) -> None:
        """A kept connection that ends as the next call goes out is replaced."""
        server = self.start([OK], [None], [OK])
        client = self.client()
        await self.post(client)
        self.assertEqual((await self.post(client)).status, 200)
        self.assertEqual((server.connections, len(server.requests)), (2, 3))

    async def test_new_connection_that_is_closed(self) -> None:
        """A call that a new connection lost is not made again."""
        server = self.start([None], [OK])
        text = await self.failure(self.post(self.client()))
        self.assertIn("closed", text)
        self.assertEqual(len(server.requests), 1)

    async def test_no_answer(self) -> None:
        """A receiver that hangs is left at the deadline, on new and on kept connections."""
        server = self.start([], [OK], [])
        client = self.client()
        text = await self.failure(self.post(client, timeout=0.2))
        self.assertEqual(text, "no answer within 0.2 seconds")
        await self.post(client)
        await self.failure(self.post(client, timeout=0.2))
        await self.wait_until(lambda: not server.open)
        self.assertEqual(len(server.requests), 3)

    async def test_body_that_hangs(self) -> None:
        """A status that came counts, with as much of the body as came until the deadline."""
        server = self.start([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"])
        answer = await self.post(self.client(), timeout=0.5)
        self.assertEqual((answer.status, answer.body_start, answer.is_whole), (200, b"abc", False))
        await self.wait_until(lambda: not server.open)

    async def test_body_that_breaks_off(self) -> None:
        """So does one whose body ends too early."""
        self.start([b"HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\nabc", None])
        answer = await self.post(self.client())
        self.assertEqual((answer.status, answer.body_start, answer.is_whole), (500, b"abc", False))

    async def test_body_to_the_end_of_the_connection(self) -> None:
        """Without a length the body ends with the connection."""
        self.start([b"HTTP/1.1 200 OK\r\n\r\nabc", None])
        answer = await self.post(self.client())
        self.assertEqual((answer.body_start, answer.is_whole), (b"abc", True))

    async def test_large_answer(self) -> None:
        """The first 64 KiB are taken, and the connection is dropped."""
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"
        server = self.start([head, *[b"x" * 60_000] * 10])
        answer = await self.post(self.client())
        self.assertEqual((len(answer.body_start), answer.is_whole), (MOST_BODY_BYTES, False))
        await self.wait_until(lambda: not server.open)

    async def test_endless_header(self) -> None:
        """Fields, and interim answers, without an end are not gathered."""
        most = MOST_HEADER_BYTES + MOST_BODY_BYTES
        for endless in (b"X: " + b"y" * 997 + b"\r\n", b"HTTP/1.1 102 Wait\r\n\r\n"):
            count = most // len(endless) + 2
            server = self.start(
                [b"HTTP/1.1 200 OK\r\n"[: 99 * (endless[:1] == b"X")], endless * count]
            )
            await self.failure(self.post(self.client()))
            await self.wait_until(lambda server=server: not server.open)

    async def test_nonsense(self) -> None:
        """What is not HTTP is no answer."""
        for nonsense in (
            b"220 mx.example.org ESMTP\r\n",
            b"\x00\xff\r\n\r\n",
            b"HTTP/1.1 x\r\n\r\n",
        ):
            self.start([nonsense, None])
            await self.failure(self.post(self.client()))

    async def test_refused_connection(self) -> None:
        """Nobody listens."""
        reactor: Any = the_reactor
        port = reactor.listenTCP(0, Factory(), interface="127.0.0.1")
        self.port = port.getHost().port
        await port.stopListening()
        self.assertIn("refused", await self.failure(self.post(self.client())))

    async def test_certificates(self) -> None:
        """https is verified: authority, name and age."""
        authority = Authority()
        tls = client_tls(authority.trust_root)
        server = self.start([OK], tls=authority.options(["hook.example"]))
        answer = await self.post(self.client(tls), scheme="https")
        self.assertEqual(answer.status, 200)
        self.start([OK], tls=Authority("another").options(["hook.example"]))
        await self.failure(self.post(self.client(tls), scheme="https"))
        self.start([OK], tls=authority.options(["other.example"]))
        await self.failure(self.post(self.client(tls), scheme="https"))
        self.start([OK])
        await self.failure(self.post(self.client(tls), scheme="https", timeout=0.3))
        self.assertEqual(len(server.requests), 1)
