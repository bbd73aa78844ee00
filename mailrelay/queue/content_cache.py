"""Content that was just accepted, until it is delivered: no read-back of what is in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from attrs import define, field
from twisted.internet.defer import Deferred, succeed

from mailrelay.queue.entry import Content


@define
class ContentCache:
    """The newest small contents, ``most_bytes`` in all; ``read`` is asked for the others."""

    read: Callable[[int], Deferred[Content]]
    most_bytes: int = 32 * 1024 * 1024
    _kept: OrderedDict[int, Content] = field(factory=OrderedDict)
    _bytes: int = 0

    def remember(self, message_id: int, content: Content) -> None:
        """Keep ``content``; the oldest go when there is too much."""
        self.forget(message_id)
        self._kept[message_id] = content
        self._bytes += content.size_bytes
        while self._bytes > self.most_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= oldest.size_bytes

    def content(self, message_id: int) -> Deferred[Content]:
        """The content of a message, from memory or from the store."""
        kept = self._kept.get(message_id)
        return succeed(kept) if kept is not None else self.read(message_id)

    def forget(self, message_id: int) -> None:
        """It will not be asked for again."""
        kept = self._kept.pop(message_id, None)
        if kept is not None:
            self._bytes -= kept.size_bytes
