"""What mailx mode takes though nobody can get it: a mailbox of the postmaster's."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailrelay.acceptance.content import IncomingContent
from mailrelay.control.handed_in import SETTLED, Asked, Note, QuarantineStore
from mailrelay.directory.model import Directory
from mailrelay.message.trace import Hop, received_field
from mailrelay.queue.entry import Content, Message
from mailrelay.queue.store import StoreUnavailable
from mailrelay.routing.router import HANDED_IN
from mailrelay.smtp.reply import Reply

QUARANTINE = "Quarantine"


@frozen
class Quarantine:
    """Puts aside; see PutAside."""

    store: QuarantineStore
    directory: Callable[[], Directory]
    hostname: str
    now: Callable[[], float]
    _log = Logger()

    def __call__(self, content: IncomingContent, why: Reply, asked: Asked) -> Deferred[None]:
        """See PutAside."""
        return Deferred.fromCoroutine(self._put_aside(content, why, asked))

    async def _put_aside(self, incoming: IncomingContent, why: Reply, asked: Asked) -> None:
        try:
            await self._stored(incoming, why, asked)
        except BaseException:
            incoming.abandon()
            raise

    async def _stored(self, incoming: IncomingContent, why: Reply, asked: Asked) -> None:
        postmaster = self.directory().postmaster_id
        if postmaster is None:
            self._log.error("nothing can be put aside: there is no postmaster")
            raise StoreUnavailable("no postmaster")
        body, spooled = await incoming.finish()
        id_, now = self.store.new_id(), self.now()
        prefix = f"X-Mailrelay-Quarantine: {why.text}\r\n".encode()
        prefix += received_field(Hop(self.hostname, "HTTPS", id_, now))
        content = Content(prefix, body, spooled, incoming.size_bytes)
        message = Message(id_, None, None, now, content.size_bytes, HANDED_IN, subject=why.text)
        note = asked.note(0, SETTLED, Note(id_, []), now)
        if not await self.store.put_aside(postmaster, QUARANTINE, message, content, note):
            self._log.error("nothing can be put aside: the postmaster's quota is used up")
            raise StoreUnavailable("the postmaster's quota is used up")
        self._log.info("message {id} is put aside: {reason}", id=id_, reason=why.text)
