"""An HTTP endpoint on loopback, in threads, that keeps what it is sent and answers raw bytes."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from attrs import frozen

Answer = bytes | Callable[[socket.socket], None]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"
PATIENCE = 60.0


def status(code: int, body: bytes = b"") -> bytes:
    """An answer."""
    return b"HTTP/1.1 %d Said\r\nContent-Length: %d\r\n\r\n%s" % (code, len(body), body)


@frozen
class Request:
    """One, as it came."""

    line: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes

    def all(self, name: bytes) -> list[bytes]:
        """The values of a field."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def one(self, name: bytes) -> bytes:
        """The value of a field that there is once."""
        [value] = self.all(name)
        return value


class HTTPEndpoint:
    """Answers the first requests with ``answers``, in order, and all others with the last of them.

    ``reads`` is how much of a body is read before the answer, all of it when it is None.
    """

    def __init__(
        self,
        *answers: Answer,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
        reads: int | None = None,
    ) -> None:
        self._answers, self._tls, self._reads = list(answers) or [OK], tls, reads
        self.requests: list[Request] = []
        self.connections = 0
        self._ends = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", port))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def url(self, path: str = "/v1/email") -> str:
        """Of a path here."""
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}{path}"

    def answer_with(self, *answers: Answer) -> None:
        """From now on."""
        self._answers = list(answers)

    def close(self) -> None:
        """Listen no more."""
        self._ends.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def silence(self, connection: socket.socket) -> None:
        """An answer: none, until the endpoint is closed."""
        self._ends.wait(PATIENCE)

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.connections += 1
                threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        with suppress(OSError, ValueError), connection:  # a TLS greeting is no request
            connection.settimeout(PATIENCE)
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            self._keep(connection)
            answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
            if isinstance(answer, bytes):
                connection.sendall(answer)
            else:
                answer(connection)

    def _keep(self, connection: socket.socket) -> None:
        reader = connection.makefile("rb")
        line, fields = reader.readline().strip(), []
        while field := reader.readline().rstrip(b"\r\n"):
            name, _, value = field.partition(b": ")
            fields.append((name, value))
        request = Request(line, fields, b"")
        length = int(request.one(b"Content-Length"))
        body = reader.read(length if self._reads is None else self._reads)
        self.requests.append(Request(line, fields, body))


def closes(connection: socket.socket) -> None:
    """An answer: the connection ends."""


def resets(connection: socket.socket) -> None:
    """An answer: the connection is cut."""
    linger = struct.pack("ii", 1, 0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def drips(pieces: Sequence[bytes], waits: threading.Event) -> Callable[[socket.socket], None]:
    """An answer: the pieces, and nothing after them until it need wait no longer."""

    def answer(connection: socket.socket) -> None:
        for piece in pieces:
            connection.sendall(piece)
        waits.wait(PATIENCE)

    return answer
