"""Small helpers for loopback ports and for waiting."""

import socket
import subprocess
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

ADDRESS = "127.0.0.1"


class TooSlow(Exception):
    """Something did not happen within the time it was given."""


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])


def wait_until(
    happened: Callable[[], bool], seconds: float, what: str, every: float = 0.02
) -> None:
    """Returns as soon as `happened()` is true.

    Raises:
        TooSlow: it was still false after `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            raise TooSlow(f"{what}: not within {seconds:g} s")
        time.sleep(every)


def greets(port: int) -> bool:
    """Whether an SMTP server answers on this port."""
    try:
        with socket.create_connection((ADDRESS, port), timeout=5) as connection:
            greeting = connection.recv(512)
            connection.sendall(b"QUIT\r\n")
            return greeting.startswith(b"220")
    except OSError:
        return False


class RunningSink:
    """A process that takes mail, until the block ends."""

    process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
