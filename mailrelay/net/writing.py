"""Writing a short answer with one system call."""

from __future__ import annotations

from typing import Any

from twisted.internet.tcp import Connection


def write_now(transport: Any, data: bytes) -> None:
    """Write ``data``, at once where nothing waits to be written before it.

    Twisted's own ``write`` waits for the reactor to find the socket writable: two epoll_ctl, an
    epoll_wait and a send for each reply of a lock-step dialogue, instead of one send.  Over TLS,
    and whenever the socket does not take everything, it is Twisted's ``write``.
    """
    if (
        isinstance(transport, Connection)
        and transport.connected
        and not (transport.disconnecting or transport.dataBuffer or transport._tempDataBuffer)
        and not getattr(transport, "TLS", False)
    ):
        sent = transport.writeSomeData(data)
        if not isinstance(sent, int):  # lost: the reactor finds out and says so
            return
        data = data[sent:]
        if not data:
            return
    transport.write(data)
