"""Many connections at once, and many one after another, for scenario S5."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.net import ADDRESS


@contextmanager
def idle_connections(port: int, wanted: int) -> Iterator[None]:
    """Holds this many connections open, each greeted and after its EHLO."""
    held: list[socket.socket] = []
    try:
        for _ in range(wanted):
            connection = socket.create_connection((ADDRESS, port), timeout=60)
            held.append(connection)
        for connection in held:
            _read_reply(connection)
            connection.sendall(b"EHLO load.test\r\n")
        for connection in held:
            _read_reply(connection)
        yield
    finally:
        for connection in held:
            connection.close()


def connects_per_second(port: int, wanted: int) -> float:
    """How fast connections are greeted and closed, one after another."""
    began = time.monotonic()
    for _ in range(wanted):
        with socket.create_connection((ADDRESS, port), timeout=60) as connection:
            _read_reply(connection)
    return wanted / (time.monotonic() - began)


def _read_reply(connection: socket.socket) -> None:
    data = b""
    while not (data.endswith(b"\n") and data.splitlines()[-1][3:4] == b" "):
        piece = connection.recv(4096)
        if not piece:
            raise ConnectionError("closed while connections were being opened")
        data += piece
    if not data.startswith(b"2"):
        raise ConnectionError(f"refused: {data[:80]!r}")
