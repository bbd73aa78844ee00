"""A relay host that wants STARTTLS and AUTH PLAIN: `python -m bench.secure_sink PORT HOME`.

smtp-sink knows neither.  It costs as little as Python can, since it shares the machine with what is
measured: what a server of ours loses to it is more than TLS alone costs.
"""

import asyncio
import os
import ssl
import subprocess
import sys
import time
from base64 import b64encode
from pathlib import Path

from bench.net import ADDRESS, RunningSink, free_port, greets, wait_until
from mailrelay.net.certificates import make_self_signed

USERNAME, PASSWORD = "bench", "a long password"
LOGIN = b"AUTH PLAIN " + b64encode(f"\0{USERNAME}\0{PASSWORD}".encode())
IN_CLEAR = b"250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 STARTTLS\r\n"
IN_TLS = b"250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 AUTH PLAIN\r\n"
END = b"\r\n.\r\n"
COUNTER, COUNTER_BYTES = "sink.counter", 8


class Sessions:
    """What all connections share: the certificate, and the count in a file."""

    def __init__(self, home: Path) -> None:
        certificate, key = home / "sink.pem", home / "sink.key"
        make_self_signed(certificate, key, [ADDRESS], time.time())
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(certificate, key)
        self._file = os.open(home / COUNTER, os.O_CREAT | os.O_RDWR, 0o600)
        self._count = 0

    def received(self) -> None:
        """One message more."""
        self._count += 1
        os.pwrite(self._file, self._count.to_bytes(COUNTER_BYTES), 0)


class Connection(asyncio.Protocol):
    """One client, in clear until it starts TLS; mail is for who logged in."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._received = b""
        self._is_secure = self._in_content = self._logged_in = False
        self._starting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(b"220 sink.test ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._received += data
        self._advance()

    def _advance(self) -> None:
        answers = []
        while self._starting is None:
            end = END if self._in_content else b"\r\n"
            line, found, rest = self._received.partition(end)
            if not found:
                break
            self._received = rest
            answers.append(self._answer(line))
        if answers:
            self._transport.write(b"".join(answers))

    def _answer(self, line: bytes) -> bytes:
        if self._in_content:
            self._in_content = False
            self._sessions.received()
            return b"250 2.0.0 taken\r\n"
        verb = line[:4].upper()
        if verb == b"EHLO":
            return IN_TLS if self._is_secure else IN_CLEAR
        if verb == b"STAR":
            self._starting = asyncio.ensure_future(self._start_tls())
            return b"220 2.0.0 begin\r\n"
        if verb == b"AUTH":
            self._logged_in = self._is_secure and line == LOGIN
            return b"235 2.7.0 welcome\r\n" if self._logged_in else b"535 5.7.8 no\r\n"
        if verb == b"QUIT":
            self._transport.close()
            return b""
        if not self._logged_in and verb != b"RSET":
            return b"530 5.7.0 log in first\r\n"
        self._in_content = verb == b"DATA"
        return b"354 go on\r\n" if self._in_content else b"250 2.1.0 ok\r\n"

    async def _start_tls(self) -> None:
        loop, transport = asyncio.get_running_loop(), self._transport
        tls = self._sessions.tls
        secure = await loop.start_tls(transport, self, tls, server_side=True)
        assert secure is not None
        self._transport, self._is_secure, self._starting = secure, True, None
        self._advance()  # the client may have been quicker than this task


async def serve(port: int, home: Path) -> None:
    """Answers until it is killed."""
    sessions, loop = Sessions(home), asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(sessions), ADDRESS, port, backlog=1000)
    await server.serve_forever()


class SecureSink(RunningSink):
    """A running one that counts what it receives."""

    def __init__(self, home: Path) -> None:
        self.port = free_port()
        self._counter = home / COUNTER
        command = [sys.executable, "-m", "bench.secure_sink", str(self.port), str(home)]
        self.process = subprocess.Popen(command)
        wait_until(lambda: greets(self.port), 10, "the sink with TLS")

    def received(self) -> int:
        """Messages received so far."""
        return int.from_bytes(self._counter.read_bytes())


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
