"""Ports for programs that must be told theirs: nobody takes them between the question and its use.

A port that the kernel chose and gave back may be the next one that it chooses for somebody's
outgoing connection.  These lie below that range, and no two processes of a test run ask for one.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from itertools import cycle

FIRST, LAST = 10_000, 30_000
"""Linux chooses from 32768 on."""

_SHARE = 40
"""Processes are told apart by their number modulo this."""


def _share_of(process: int) -> Iterator[int]:
    width = (LAST - FIRST) // _SHARE
    first = FIRST + process % _SHARE * width
    return cycle(range(first, first + width))


_candidates: dict[int, Iterator[int]] = {}


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on, and that this process did not give lately."""
    process = os.getpid()
    candidates = _candidates.setdefault(process, _share_of(process))
    for port in candidates:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise RuntimeError("no free port")
