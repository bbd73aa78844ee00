"""A site on a real socket: raw bytes, the standard library's client, and curl."""

from __future__ import annotations

import http.client
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, TestCase

from mailrelay.certificates.serving import HTTPSFactory
from mailrelay.net.certificates import make_self_signed
from mailrelay.net.threads import ThreadExecutor
from mailrelay.testing.certificates import held
from mailrelay.web.connection import LINGER_BYTES
from mailrelay.web.form import FormLimits, read_form
from mailrelay.web.intake import Intake
from mailrelay.web.request import Request, Response, Route, refused
from mailrelay.web.site import HTTPContext, Site
from tests.web.wire import GET, HELLO, NO_LIMITS, post, replies

MIB = 1024 * 1024
LIMITS = FormLimits(files=50 * MIB)


async def count(request: Request) -> Response:
    """How many bytes the body has."""
    return Response.text(200, str(await request.body.stream(lambda _: None, 100 * MIB)))


async def deny(request: Request) -> Response:
    """Refuses without reading."""
    raise refused(401, "log in first")


async def large(request: Request) -> Response:
    """20 MiB in parts."""

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * MIB

    return Response(200, parts())


class SocketTests(TestCase):
    """What only a socket shows."""

    def setUp(self) -> None:
        """A site with a form, and threads that speak to it."""
        reactor: Any = the_reactor
        self.folder = Path(self.mktemp())
        workers = ThreadExecutor(reactor, 2, "workers")
        self.addCleanup(workers.stop)
        names = iter(range(1000))
        self.settings = evolve(NO_LIMITS, header_seconds=30.0)
        intake = Intake(self.folder, workers, lambda: str(next(names)), self.settings)
        intake.prepare()

        async def form(request: Request) -> Response:
            async with await read_form(request, intake, LIMITS) as given:
                files = ",".join(f"{file.filename}={file.size}" for file in given.files)
                return Response.text(200, f"{given.get('a')} {files}")

        self.sessions: set[Any] = set()
        context = HTTPContext(
            reactor, time.time, self.settings, self.sessions, lambda route, status: None
        )
        routes = [
            HELLO,
            Route(("POST",), "/", count),
            Route(("POST",), "/form", form),
            Route(("POST",), "/deny", deny),
            Route(("GET",), "/large", large),
        ]
        self.site = Site(context, routes)
        self.port = self.listen(self.site)
        self.addCleanup(self.all_gone)

    def listen(self, site: Any) -> int:
        """A port with ``site``."""
        reactor: Any = the_reactor
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    async def all_gone(self) -> None:
        """The server sees the end of every connection."""
        for _ in range(1000):
            if not self.sessions:
                return
            pause: Deferred[None] = Deferred()
            reactor: Any = the_reactor
            reactor.callLater(0.01, pause.callback, None)
            await pause
        self.fail("a connection is left")

    async def raw(self, *pieces: bytes) -> bytes:
        """All that comes back for ``pieces`` until the server closes; 20 seconds at the most."""

        def talk() -> bytes:
            with socket.create_connection(("127.0.0.1", self.port), timeout=20) as client:
                for piece in pieces:
                    client.sendall(piece)
                got = b""
                while data := client.recv(65536):
                    got += data
                return got

        return await deferToThread(talk)

    async def in_thread(self, work: Callable[[http.client.HTTPConnection], Any]) -> Any:
        """What ``work`` does with a connection of the standard library."""

        def run() -> Any:
            client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            try:
                return work(client)
            finally:
                client.close()

        return await deferToThread(run)

    async def test_smuggling(self) -> None:
        """Threat 26: one answer of 400 and the end, whatever is hidden in the body."""
        hidden = b"0\r\n\r\n" + GET
        for fields in (
            b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
            b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n",
            b"Content-Length: 6\r\nContent-Length: 5\r\n",
            b"Content-Length: 6\r\nContent-Length: 6\r\n",
            b"Content-Length: 6, 6\r\n",
            b"Content-Length: +6\r\n",
            b"Content-Length: 6\nX: y\r\n",
            b"Content-Length : 6\r\n",
            b" Content-Length: 6\r\n",
            b"X: y\r\n Content-Length: 6\r\n",
            b"Transfer-Encoding: xchunked\r\n",
            b"Transfer-Encoding: identity\r\n",
            b"Transfer-Encoding: chunked, chunked\r\n",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n",
            b"Transfer-Encoding:\x0bchunked\r\n",
            b"Transfer-Encoding : chunked\r\n",
            b"Host: b\r\n",
        ):
            got = await self.raw(b"POST / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n" + hidden)
            self.assertEqual([r.status for r in replies(got)], [400], fields)
        got = await self.raw(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + hidden)
        self.assertEqual([r.status for r in replies(got)], [400])

    async def test_mail_client(self) -> None:
        """SMTP, TLS and old HTTP on this port are answered once, at once."""
        for noise in (b"EHLO a.example\r\n", b"GET /\r\n", b"GET / HTTP/1.1\nHost: a\n\n"):
            self.assertEqual([r.status for r in replies(await self.raw(noise))], [400], noise)

    async def test_refused_while_sending(self) -> None:
        """The refusal arrives though the client was still sending: no reset overtakes it."""
        head = b"POST /deny HTTP/1.1\r\nHost: a\r\nContent-Length: 900000000\r\n\r\n"
        got = await self.raw(head, b"x" * (LINGER_BYTES // 2))
        self.assertEqual([r.body for r in replies(got)], [b"log in first"])

    async def test_pipelined(self) -> None:
        """Two thousand requests in one go."""
        last = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        got = await self.raw((GET + post(b"abc")) * 1000 + last)
        bodies = [r.body for r in replies(got)]
        self.assertEqual(bodies, [b"hello", b"3"] * 1000 + [b"hello"])

    async def test_client_that_does_not_read(self) -> None:
        """Threat 17: who sends requests and reads nothing is not read from for long."""

        def flood() -> int:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as client:
                sent = 0
                try:
                    while sent < 60 * MIB:
                        sent += client.send(GET * 1000)
                except TimeoutError:
                    pass
                return sent

        self.assertLess(await deferToThread(flood), 30 * MIB)

    async def test_standard_library(self) -> None:
        """Several requests on one connection; a large body; a large answer."""

        def work(client: http.client.HTTPConnection) -> list[tuple[int, int]]:
            found = []
            for method, path, body in (
                ("GET", "/", None),
                ("POST", "/", b"x" * 5 * MIB),
                ("GET", "/large", None),
                ("HEAD", "/", None),
                ("PUT", "/", b"abc"),
                ("GET", "/", None),
            ):
                client.request(method, path, body)
                answer = client.getresponse()
                found.append((answer.status, len(answer.read())))
            return found

        wanted = [(200, 5), (200, 7), (200, 20 * MIB), (200, 0), (405, 25), (200, 5)]
        self.assertEqual(await self.in_thread(work), wanted)

    async def test_curl(self) -> None:
        """Forms, chunks and Expect as curl has them; no file is left."""
        curl = shutil.which("curl")
        if curl is None:
            raise SkipTest("there is no curl")
        upload = self.folder.parent / f"{self.folder.name}-upload"
        upload.write_bytes(b"z" * 3 * MIB)
        base = f"http://127.0.0.1:{self.port}"
        for arguments, wanted in (
            (["-F", "a=1", "-F", f"f=@{upload};filename=u", f"{base}/form"], f"1 u={3 * MIB}"),
            (["-d", "a=1&b=2", f"{base}/form"], "1 "),
            (["--data-binary", f"@{upload}", f"{base}/"], str(3 * MIB)),
            (
                ["-H", "Transfer-Encoding: chunked", "--data-binary", f"@{upload}", f"{base}/"],
                str(3 * MIB),
            ),
            (["--data-binary", f"@{upload}", f"{base}/deny"], "log in first"),
            (["-H", "Expect:", "--data-binary", f"@{upload}", f"{base}/deny"], "log in first"),
        ):
            run = await deferToThread(
                subprocess.run, [curl, "-sS", "-m", "60", *arguments], capture_output=True
            )
            self.assertEqual(run.stdout.decode(), wanted, run.stderr)
        self.assertEqual(list(self.folder.iterdir()), [])

    async def test_tls(self) -> None:
        """The same over TLS, a refusal while the client sends included."""
        curl = shutil.which("curl")
        if curl is None:
            raise SkipTest("there is no curl")
        certificate, key = self.folder / "c.pem", self.folder / "k.pem"
        make_self_signed(certificate, key, ["localhost"], time.time())
        port = self.listen(HTTPSFactory(held(certificate, key), self.site))
        upload = self.folder / "upload"
        upload.write_bytes(b"z" * 3 * MIB)
        base = ["--data-binary", f"@{upload}", "-H", "Expect:"]
        for path, wanted in (("/", str(3 * MIB)), ("/deny", "log in first")):
            run = await deferToThread(
                subprocess.run,
                [curl, "-sSk", "-m", "60", *base, f"https://127.0.0.1:{port}{path}"],
                capture_output=True,
            )
            self.assertEqual(run.stdout.decode(), wanted, run.stderr)
