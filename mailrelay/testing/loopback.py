"""A whole server on 127.0.0.1, on kernel-chosen ports, with its own store; and a raw client."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from attrs import evolve, frozen
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from mailrelay.certificates.settings import TLSSection
from mailrelay.config.settings import (
    ListenerSection,
    LogSection,
    Settings,
    StorageSection,
)
from mailrelay.control.bootstrap import FirstAccount, bootstrap
from mailrelay.net.certificates import make_self_signed
from mailrelay.net.dnssec import ValidatingResolver
from mailrelay.net.lookup import Lookups
from mailrelay.net.resolver import Resolver
from mailrelay.net.surroundings import Surroundings
from mailrelay.net.threads import ThreadExecutor
from mailrelay.policy.limits import Limits
from mailrelay.service.controls import Control, open_control
from mailrelay.service.server import Server
from mailrelay.testing.fakes import FakeResolver

DOMAIN = "example.org"
USER = "user@example.org"
PASSWORD = "correct horse"


@frozen
class Loopback:
    """A running server with one domain, ``example.org``, and one account, ``user``."""

    server: Server
    settings: Settings
    reactor: Any
    case: TestCase

    @classmethod
    async def start(
        cls,
        case: TestCase,
        reactor: Any,
        *,
        roles: Sequence[str] = ("mx", "submission", "submissions", "http"),
        resolver: Resolver | None = None,
        url: str = "sqlite:///mailrelay.db",
        data_dir: Path | None = None,
        clock: IReactorTime | None = None,
        validating: ValidatingResolver | None = None,
        lookups: Lookups | None = None,
        **settings: Any,
    ) -> Loopback:
        """Start it; it is stopped when the test ends.  ``settings`` are fields of Settings.

        ``clock`` is for its timers, instead of the reactor.
        """
        chosen = make_settings(case, roles, url, data_dir, settings)
        with_account(chosen)
        threads = real_threads(case, reactor, resolver)
        surroundings = evolve(threads, validating=validating, lookups=lookups)
        server = Server(evolve(surroundings, clock=clock or reactor), chosen)
        server.privilegedStartService()
        server.startService()
        case.addCleanup(server.stopService)  # trial fails the test if anything is left behind
        return cls(server, chosen, reactor, case)

    def port(self, role: str) -> int:
        """The port of the first listener of ``role``."""
        index = [section.role for section in self.settings.listener].index(role)
        host: Any = self.server.listeners[index].port.getHost()
        return int(host.port)

    async def connect(self, role: str = "mx", source: str = "127.0.0.1") -> RawClient:
        """A raw connection from ``source`` to the listener of ``role``, until the test ends."""
        endpoint = TCP4ClientEndpoint(
            self.reactor, "127.0.0.1", self.port(role), 10, bindAddress=(source, 0)
        )
        client: RawClient = await connectProtocol(endpoint, RawClient())
        self.case.addCleanup(client.close)
        return client

    async def say(self, *lines: bytes, role: str = "mx") -> list[bytes]:
        """The replies to ``lines``, sent one after the other; the greeting comes first."""
        client = await self.connect(role)
        replies = [await client.reply()]
        for line in lines:
            client.send(line + b"\r\n")
            replies.append(await client.reply())
        return replies

    async def submit(self, content: bytes, *recipients: str) -> bytes:
        """What is answered to a message of the account's, by TLS; ``content`` ends with a line."""
        client = await self.connect("submission")
        await client.reply()
        for line in (b"EHLO client.test", b"STARTTLS"):
            await client.ask(line)
        client.start_tls()
        plain = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode())
        for line in (
            b"EHLO client.test",
            b"AUTH PLAIN " + plain,
            b"MAIL FROM:<%s>" % USER.encode(),
            *(b"RCPT TO:<%s>" % one.encode() for one in recipients),
            b"DATA",
        ):
            answer = await client.ask(line)
            self.case.assertIn(answer[:1], b"23", (line[:40], answer))
        answer = await client.ask(content.replace(b"\r\n.", b"\r\n..") + b".")
        await client.close()
        return answer

    def control(self) -> Control:
        """The operators' side of the same store, opened beside the server; caller closes it."""
        return open_control(self.settings, "test", time.time, Random(7))


class RawClient(Protocol):
    """Bytes out as told; replies in, whole.  Not an SMTP client: it may say anything."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._waiting: Deferred[None] | None = None
        self.closed: Deferred[None] = Deferred()
        self.is_closed = False

    def send(self, data: bytes) -> None:
        """Write ``data`` as it is."""
        assert self.transport is not None
        self.transport.write(data)

    def start_tls(self) -> None:
        """Begin a TLS handshake, after the server agreed to one."""
        transport: Any = self.transport
        transport.startTLS(CertificateOptions(verify=False))

    def dataReceived(self, data: bytes) -> None:
        """See Protocol."""
        self._received += data
        self._wake()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See Protocol."""
        self.is_closed = True
        self._wake()
        self.closed.callback(None)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    async def reply(self) -> bytes:
        """The next reply, all its lines with their CRLFs; what is left when the server closed."""
        while True:
            end = _reply_end(bytes(self._received))
            if end or self.is_closed:
                size = end or len(self._received)
                taken = bytes(self._received[:size])
                del self._received[:size]
                return taken
            self._waiting = Deferred()
            await self._waiting

    async def replies(self, count: int) -> list[bytes]:
        """The next ``count`` replies."""
        return [await self.reply() for _ in range(count)]

    async def ask(self, line: bytes) -> bytes:
        """Send a line, get its reply."""
        self.send(line + b"\r\n")
        return await self.reply()

    def close(self) -> Deferred[None]:
        """Close the connection; fires when it is gone."""
        if not self.is_closed:
            transport: Any = self.transport
            transport.abortConnection()
        return self.closed


def _reply_end(data: bytes) -> int:
    """Where the first whole reply in ``data`` ends, 0 when it is not whole yet."""
    start = 0
    while (end := data.find(b"\r\n", start)) >= 0:
        if data[start + 3 : start + 4] != b"-":
            return end + 2
        start = end + 2
    return 0


def make_settings(
    case: TestCase,
    roles: Sequence[str],
    url: str,
    data_dir: Path | None,
    given: dict[str, Any],
) -> Settings:
    """Settings of a test's server: quick to stop, quiet, no limits that a test trips over."""
    if data_dir is None:
        data_dir = Path(os.path.abspath(case.mktemp()))
    data_dir.mkdir(exist_ok=True)
    certificate, key = data_dir / "test.pem", data_dir / "test-key.pem"
    if not certificate.exists():
        make_self_signed(certificate, key, ["localhost", "127.0.0.1"], time.time())
    listeners = [
        ListenerSection(
            role,
            "tcp:0:interface=127.0.0.1",
            monitoring=True,
            webapi=True,
            relay=True,
            pages=True,
            autoconfig=True,
        )
        for role in roles
    ]
    plain = Settings(
        "mx.example.org",
        data_dir,
        listener=listeners,
        tls=TLSSection(str(certificate), str(key)),
        storage=StorageSection(url, min_free_bytes=0),
        limits=Limits(connections_per_address=10_000),
        log=LogSection(mail_log=""),
        stop_grace=2.0,
    )
    return evolve(plain, **given)


def with_account(settings: Settings) -> None:
    """Make the domain and the account, unless they are there."""
    control = open_control(settings, "test", time.time, Random(1))
    first = FirstAccount("user", DOMAIN, "user", PASSWORD, "admin password")
    failures: list[Failure] = []
    Deferred.fromCoroutine(bootstrap(control.directory, first)).addErrback(failures.append)
    control.close()
    for failure in failures:
        failure.raiseException()


def real_threads(case: TestCase, reactor: Any, resolver: Resolver | None) -> Surroundings:
    """Surroundings with the real reactor and threads, which end with the test."""
    writer = ThreadExecutor(reactor, 1, "writer")
    workers = ThreadExecutor(reactor, 4, "workers")
    case.addCleanup(workers.stop)
    case.addCleanup(writer.stop)
    return Surroundings(
        reactor,
        reactor,
        time.time,
        Random(case.id()),
        resolver or FakeResolver(),
        writer,
        workers,
    )
