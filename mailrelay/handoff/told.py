"""A message as JSON, for an application that would rather not read MIME.

In the shape of the call that tells of a received message.  Attachments are links that need no
login, and lead somewhere while the message waits for the application: until it has answered with
a 2xx.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import field, frozen
from twisted.internet.defer import Deferred, DeferredSemaphore

from mailrelay.message.trace import delivery_fields
from mailrelay.net.threads import Executor
from mailrelay.policy.file_links import OF_THE_QUEUE, FileLinks
from mailrelay.queue.entry import LARGE_BYTES, Content, Entry
from mailrelay.webhooks.arrival import READ_AT_ONCE, READ_BYTES, RECEIVED, TOLD_TEXT_BYTES
from mailrelay.webhooks.received import Kept, received_mail
from mailrelay.webhooks.standard import body


def front_of(entry: Entry) -> bytes:
    """What final delivery puts on top, and X-Original-To, which many pipelines look at."""
    original = f"X-Original-To: {entry.recipient}\r\n".encode()
    return delivery_fields(entry.reverse_path, entry.recipient) + original


@frozen
class JSONBodies:
    """Makes the bodies; of a message beyond READ_BYTES its front is told of."""

    executor: Executor
    links: FileLinks
    read_spool: Callable[[str, int, int], Deferred[bytes]]
    now: Callable[[], float]
    _turns: DeferredSemaphore = field(factory=lambda: DeferredSemaphore(READ_AT_ONCE), init=False)

    async def of(self, entry: Entry, content: Content) -> bytes:
        """What is posted for ``entry``."""
        if content.size_bytes <= LARGE_BYTES:
            return await self._made(entry, content)
        await self._turns.acquire()
        try:
            return await self._made(entry, content)
        finally:
            self._turns.release()

    async def _made(self, entry: Entry, content: Content) -> bytes:
        stored = content.body
        if stored is None:
            assert content.spool_name is not None
            stored = await self.read_spool(content.spool_name, content.body_from, READ_BYTES)
        front = front_of(entry) + content.prefix
        size = len(front) + content.body_size_bytes
        return await self.executor.run(self._told, front + stored, entry, size)

    def _told(self, content: bytes, entry: Entry, size_bytes: int) -> bytes:
        """Called off the reactor thread."""
        kept = Kept(
            entry.id,
            OF_THE_QUEUE,
            "",
            (),
            entry.message.received_at,
            size_bytes,
            str(entry.reverse_path or ""),
            str(entry.recipient),
            entry.message.remote_ip,
            entry.message.verdict,
        )
        mail = received_mail(content, kept, self.links, self.now(), TOLD_TEXT_BYTES)
        return body(RECEIVED, entry.message.received_at, mail)
