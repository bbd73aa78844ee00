"""TLS in front of an HTTP listener, in threads, which may lose what the listener answers."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress

PATIENCE = 60.0


class Front:
    """Passes each request on to ``port``, and its answer back, unless ``meanwhile`` says no.

    ``meanwhile`` is called with the whole answer; what it returns is whether the client gets it.
    """

    def __init__(self, port: int, tls: ssl.SSLContext) -> None:
        self.to, self._tls = port, tls
        self.meanwhile: Callable[[bytes], bool] = lambda answer: True
        self.answers: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(client,), daemon=True).start()

    def _one(self, client: socket.socket) -> None:
        client.settimeout(PATIENCE)
        with suppress(OSError), self._tls.wrap_socket(client, server_side=True) as secure:
            answer = self._passed_on(secure)
            self.answers.append(answer)
            if self.meanwhile(answer):
                secure.sendall(answer)

    def _passed_on(self, client: socket.socket) -> bytes:
        request = b""
        while b"\r\n\r\n" not in request:
            request += self._more(client)
        head, _, body = request.partition(b"\r\n\r\n")
        length = next(
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        while len(body) < length:
            body += self._more(client)
        with socket.create_connection(("127.0.0.1", self.to), PATIENCE) as server:
            server.sendall(head + b"\r\n\r\n" + body)
            answer = b""
            while data := server.recv(65536):
                answer += data
        return answer

    def _more(self, client: socket.socket) -> bytes:
        data = client.recv(65536)
        if not data:
            raise OSError("the client is gone")
        return data
