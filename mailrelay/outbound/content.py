"""Sending content: at once when it is in memory, in blocks with constant memory when it is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPullProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from mailrelay.net.writing import Outbox
from mailrelay.smtp.content import DotStuffer

BLOCK_BYTES = 256 * 1024


class ContentIncomplete(Exception):
    """The content is not as long as it was said to be: nobody must take it for whole."""


@frozen
class Outgoing:
    """A message's bytes: ``head`` is in memory, ``read(offset, size)`` gives the rest, if any."""

    head: bytes
    size_bytes: int
    read: Callable[[int, int], Deferred[bytes]] | None = None


@implementer(IPullProducer)
class _Sending:
    """Writes a block whenever the transport has sent the last one."""

    def __init__(
        self,
        transport: Any,
        outgoing: Outgoing,
        outbox: Outbox,
        stuffer: DotStuffer | None,
        progress: Callable[[], None],
    ) -> None:
        self.finished: Deferred[None] = Deferred()
        self._transport, self._outgoing, self._outbox = transport, outgoing, outbox
        self._stuffer, self._progress = stuffer, progress
        self._offset = 0
        self._handed_over = 0
        self._reading = False
        self._over = False

    def begin(self) -> None:
        """Send what is in memory, and the rest as the transport takes it."""
        if self._outgoing.read is None:
            self._write_whole(self._outgoing.head)
        else:
            self._write(self._outgoing.head)
            self._transport.registerProducer(self, False)

    def _write_whole(self, data: bytes) -> None:
        """Content that is in memory, and its end, in one go."""
        self._over = True
        if self._stuffer is not None:
            data = self._stuffer.chunk(data) + self._stuffer.end()
        self._outbox.write(self._transport, data)
        self.finished.callback(None)

    def resumeProducing(self) -> None:
        """See IPullProducer."""
        self._progress()
        if self._reading or self._over or self._outgoing.read is None:
            return
        self._reading = True
        block = self._outgoing.read(self._offset, BLOCK_BYTES)
        block.addCallbacks(self._got, self._failed)

    def _got(self, block: bytes) -> None:
        self._reading = False
        if self._over:
            return
        self._offset += len(block)
        size = self._outgoing.size_bytes
        if block and self._handed_over + len(block) <= size:
            self._write(block)
        else:
            self._handed_over += len(block)
            size = 0
        if self._handed_over >= size:  # at once: after BDAT's last byte the answer may come
            self._transport.unregisterProducer()
            self._end()

    def _failed(self, failure: Failure) -> None:
        self.stop()
        self.finished.errback(failure)

    def _write(self, data: bytes) -> None:
        self._handed_over += len(data)
        if data:  # by way of the reactor, which asks for more when this is sent
            self._transport.write(self._stuffer.chunk(data) if self._stuffer else data)

    def _end(self) -> None:
        self._over = True
        if self._handed_over != self._outgoing.size_bytes:
            said = self._outgoing.size_bytes
            # Ended with a dot it would pass for whole; beyond BDAT's size it would be commands.
            incomplete = ContentIncomplete(f"{self._handed_over} bytes instead of {said}")
            self.finished.errback(incomplete)
            return
        if self._stuffer is not None:
            self._transport.write(self._stuffer.end())
        self.finished.callback(None)

    def stopProducing(self) -> None:
        """The connection is gone; whoever waits is told by it."""
        self._over = True

    def stop(self) -> None:
        """Send no more."""
        if not self._over:
            self._over = True
            if self._outgoing.read is not None:
                self._transport.unregisterProducer()


def send_content(
    transport: Any,
    outgoing: Outgoing,
    outbox: Outbox,
    *,
    stuffed: bool,
    progress: Callable[[], None],
) -> _Sending:
    """Begin to send; ``finished`` of the answer fires when the last byte was handed over.

    ``progress`` is called whenever the peer has taken a block.
    """
    sending = _Sending(transport, outgoing, outbox, DotStuffer() if stuffed else None, progress)
    sending.begin()
    return sending
