"""Writing short answers with few system calls, and few awakenings of who waits for them.

Twisted's own ``write`` waits for the reactor to find the socket writable: two epoll_ctl, an
epoll_wait and a send for each reply of a lock-step dialogue, instead of one send.  And a peer on
the same machine that is sent its reply between two pieces of our work wakes for each: it takes a
core from us, or has an idle one started.  Sent together at the end of the reactor's round, the
replies of a busy time find it awake: measured with 50 lock-step sessions, relaying is a tenth to a
fifth faster.
"""

from __future__ import annotations

from typing import Any, ClassVar

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.internet.tcp import Connection
from twisted.logger import Logger

MOST_BYTES = 64 * 1024
"""What is more waits for room in Twisted's way, which pauses who produces it."""


@define
class Outbox:
    """Sends what is written when the round of the reactor ends in which it was written.

    It stands in the transport's own buffer: what is written there by others, the start of TLS and
    the end of the connection keep their order.
    """

    _log: ClassVar[Logger] = Logger()

    _clock: IReactorTime
    _waiting: list[Connection] = field(factory=list, init=False)

    def write(self, transport: Any, data: bytes) -> None:
        """Have ``transport`` send ``data`` soon.  Over TLS it is Twisted's ``write``."""
        if (
            not isinstance(transport, Connection)
            or not transport.connected
            or transport.disconnecting
            or getattr(transport, "TLS", False)
            or transport._writeDisconnected
            or len(transport.dataBuffer) + transport._tempDataLen + len(data) > MOST_BYTES
        ):
            transport.write(data)
            return
        if not (transport._tempDataBuffer or transport.dataBuffer):  # else it is to be sent already
            if not self._waiting:
                self._clock.callLater(0.0, self._send)
            self._waiting.append(transport)
        transport._tempDataBuffer.append(data)
        transport._tempDataLen += len(data)

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        for transport in waiting:
            # The reactor may have sent it meanwhile; of one that is being closed, it sends it.
            waits = transport._tempDataBuffer and not transport.disconnecting
            if waits and transport.connected:
                self._send_of(transport)

    def _send_of(self, transport: Connection) -> None:
        try:
            failure = transport.doWrite()
        except Exception:  # a producer's, which wanted to go on; the others' replies still go
            self._log.failure("a connection failed while it was written to")
            transport.abortConnection()
            return
        if failure is not None or transport.dataBuffer:
            transport.startWriting()  # the reactor sends the rest, or finds it lost
